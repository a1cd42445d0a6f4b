import { closeSync, openSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";

/**
 * What happened, in one file outside of everything that may die: whoever saw something adds a line, in one write to the end of the file, which
 * the kernel does not mix with others. Times are this machine's.
 */
export interface Accepted {
  readonly atMs: number;
  readonly id: string;
  readonly agent: string;
  readonly object: string;
  /** Of the object's events in the order accepted; 0 where nobody knows that order. */
  readonly n: number;
  /** The port of the control plane that said 202, or `queue`. */
  readonly via: string;
}

/** An agent changed something. */
export interface Effect {
  readonly atMs: number;
  readonly id: string;
  readonly agent: string;
  readonly object: string;
  readonly n: number;
}

/** An agent is registered at the control plane of this port. */
export interface Registered {
  readonly atMs: number;
  readonly agent: string;
  readonly port: string;
}

/** What was done to the installation. */
export interface Mark {
  readonly atMs: number;
  readonly what: "kill" | "up" | "stop" | "continue" | "term" | "redis-down" | "redis-up" | "nats-down" | "nats-up" | "phase";
  /** A port, or the name of the phase. */
  readonly whom: string;
}

/** What must never be answered. */
export interface Fault {
  readonly atMs: number;
  readonly text: string;
}

export interface Story {
  readonly accepted: readonly Accepted[];
  readonly effects: readonly Effect[];
  readonly registered: readonly Registered[];
  readonly marks: readonly Mark[];
  readonly faults: readonly Fault[];
}

export class Journal implements Disposable {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, "a");
  }

  accepted({ atMs, id, agent, object, n, via }: Accepted): void {
    this.#line("A", atMs, id, agent, object, n, via);
  }
  effect({ atMs, id, agent, object, n }: Effect): void {
    this.#line("E", atMs, id, agent, object, n);
  }
  registered({ atMs, agent, port }: Registered): void {
    this.#line("R", atMs, agent, port);
  }
  mark(what: Mark["what"], whom: string): void {
    this.#line("M", Date.now(), what, whom);
  }
  fault(text: string): void {
    this.#line("F", Date.now(), text.replaceAll(/\s+/g, " ").slice(0, 500));
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #line(...fields: readonly (string | number)[]): void {
    writeSync(this.#fd, `${fields.join("\t")}\n`);
  }
}

/** All of it; a line without its end yet is left for the next time. */
export async function readJournal(path: string): Promise<Story> {
  const text = await readFile(path, "utf8");
  const story = {
    accepted: [] as Accepted[],
    effects: [] as Effect[],
    registered: [] as Registered[],
    marks: [] as Mark[],
    faults: [] as Fault[],
  };
  for (const line of text.slice(0, text.lastIndexOf("\n") + 1).split("\n")) {
    const [kind, at = "", one = "", two = "", three = "", four = "", five = ""] = line.split("\t");
    const atMs = Number(at);
    if (kind === "A") story.accepted.push({ atMs, id: one, agent: two, object: three, n: Number(four), via: five });
    else if (kind === "E") story.effects.push({ atMs, id: one, agent: two, object: three, n: Number(four) });
    else if (kind === "R") story.registered.push({ atMs, agent: one, port: two });
    else if (kind === "M") story.marks.push({ atMs, what: one as Mark["what"], whom: two });
    else if (kind === "F") story.faults.push({ atMs, text: one });
    else if (line !== "") throw new Error(`the journal has a line that nobody writes: ${line}`);
  }
  return story;
}
