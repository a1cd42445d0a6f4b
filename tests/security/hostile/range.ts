import { readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { type RunningProcess, startTransporter } from "../../support/process.ts";

const MIB = 1024 * 1024;
/** What is left of a connection whose answer nobody reads is given up after this. */
const PATIENCE_MS = 20_000;

/** What a bomb did. */
export interface Blast {
  readonly name: string;
  readonly sentBytes: number;
  /** The status line's number; 0 where the connection was closed without an answer that was seen. */
  readonly status: number;
  readonly code: string;
  /** From the last byte that was sent, or from the moment the answer began if that was earlier, to the answer. */
  readonly answeredMs: number;
  /** Highest resident size of the process above that before. */
  readonly grownMib: number;
  /** The longest that another client waited for its answer meanwhile. */
  readonly othersMs: number;
}

function kib(pid: number, field: "VmRSS" | "VmHWM"): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** The highest resident size that a process had while something ran, above what it had before; in MiB. */
export async function grownMib(pid: number, run: () => Promise<unknown>): Promise<number> {
  // Linux forgets the highest size so far.
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
  const before = kib(pid, "VmRSS");
  await run();
  return Math.max(0, kib(pid, "VmHWM") - before) / 1024;
}

/** A control plane as a process of its own, and somebody who asks it something all the time. */
export class Range implements AsyncDisposable {
  readonly process: RunningProcess;
  readonly url: string;
  readonly blasts: Blast[] = [];

  private constructor(process: RunningProcess, url: string) {
    this.process = process;
    this.url = url;
  }

  static async open(): Promise<Range> {
    const process = await startTransporter(["cp", "--ws-port", "0", "--log-format", "json"], { compiled: true });
    const [, address] = await process.line(/"address":"(127\.0\.0\.1:\d+)"/);
    const range = new Range(process, `http://${address ?? ""}`);
    // What is loaded at the first use is no growth by a bomb: the worker for large bodies too.
    for (const bytes of [1_000, 300_000, 8 * MIB, 300_000, 8 * MIB]) await (await range.submit({ note: "x".repeat(bytes) })).text();
    return range;
  }

  /** A good event with these fields besides. */
  submit(fields: Readonly<Record<string, unknown>>): Promise<Response> {
    const event = {
      id: crypto.randomUUID(),
      type: "k8s_resource",
      target_agent: "nobody",
      payload: { manifests: ["kind: X\n"] },
      ...fields,
    };
    return fetch(`${this.url}/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(event),
    });
  }

  /** Sends the head and then the pieces, as fast as they are taken, until there is an answer or no more of them. */
  async bomb(name: string, head: string, pieces: Iterable<Uint8Array>): Promise<Blast> {
    const shot = { sentBytes: 0, status: 0, code: "", answeredMs: 0 };
    let othersMs = 0;
    const grown = await grownMib(this.process.pid, async () => {
      const stop = new AbortController();
      const asking = this.#ask(stop.signal);
      await this.#shoot(head, pieces, shot);
      // What was set loose may come later.
      if (shot.sentBytes > MIB) await Bun.sleep(50);
      stop.abort();
      othersMs = await asking;
    });
    const blast: Blast = { name, ...shot, grownMib: grown, othersMs };
    this.blasts.push(blast);
    return blast;
  }

  async #ask(stop: AbortSignal): Promise<number> {
    let longestMs = 0;
    while (!stop.aborted) {
      const startedMs = performance.now();
      await (await fetch(`${this.url}/v1/agents`)).text();
      longestMs = Math.max(longestMs, performance.now() - startedMs);
      await Bun.sleep(2);
    }
    return longestMs;
  }

  async #shoot(
    head: string,
    pieces: Iterable<Uint8Array>,
    shot: { sentBytes: number; status: number; code: string; answeredMs: number },
  ): Promise<void> {
    const socket = connect(Number(new URL(this.url).port), "127.0.0.1");
    const closed = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<void>();
    let said = "";
    let isOver = false;
    let answeredAtMs = 0;
    const over = (): void => {
      if (isOver) return;
      isOver = true;
      answeredAtMs = performance.now();
      answered.resolve();
    };
    socket.on("error", () => undefined);
    socket.on("close", () => {
      over();
      closed.resolve();
    });
    socket.on("data", (data: Buffer) => {
      said += data.toString("latin1");
      over();
    });
    try {
      await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
      socket.write(head);
      for (const piece of pieces) {
        if (isOver) break;
        shot.sentBytes += piece.byteLength;
        if (!socket.write(piece)) await Promise.race([drained(socket), answered.promise]);
      }
      const sentAtMs = performance.now();
      await Promise.race([answered.promise, Bun.sleep(PATIENCE_MS)]);
      shot.answeredMs = isOver ? Math.max(0, answeredAtMs - sentAtMs) : PATIENCE_MS;
      // The body may come a moment after the status.
      if (!said.startsWith("HTTP/1.1 2") && !said.includes('"code":')) await Promise.race([closed.promise, Bun.sleep(20)]);
      shot.status = Number(/^HTTP\/1\.1 (\d{3})/.exec(said)?.[1] ?? 0);
      shot.code = /"code":"([A-Z_]+)"/.exec(said)?.[1] ?? "";
    } finally {
      socket.destroy();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.process[Symbol.asyncDispose]();
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("drain", resolve));
}

export function table(blasts: readonly Blast[]): string {
  const width = Math.max(...blasts.map(({ name }) => name.length));
  return blasts
    .map(
      ({ name, sentBytes, status, code, answeredMs, grownMib: grown, othersMs }) =>
        `  ${name.padEnd(width)}  ${(sentBytes / MIB).toFixed(1).padStart(6)} MiB sent  ${`${status} ${code}`.padEnd(24)} after ${answeredMs
          .toFixed(0)
          .padStart(4)} ms  +${grown.toFixed(0).padStart(3)} MiB  others ${othersMs.toFixed(0).padStart(3)} ms`,
    )
    .join("\n");
}
