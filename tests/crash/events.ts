import type { State } from "../../src/protocol/mod.ts";
import type { Dice } from "./dice.ts";
import { HOOK_LABEL } from "./hook-switch.ts";
import { AGENTS, NAMESPACE } from "./installation.ts";

/**
 * - `chain`: the next writer of an object that many events write.
 * - `own`: an object of its own, which is taken away once the event is told as ended: carried out again, it would come back.
 * - `large`: a chain whose payload lies apart and is fetched in pieces.
 * - `hook`: a chain whose objects a dead webhook refuses now and then, so that the agent tries again.
 * - `recalled`: cancelled while the agent tries it.
 * - `dropped`: cancelled right after it was accepted.
 * - `again`: tried again once it has ended.
 * - `late`: with a delay.
 * - `nobody`: for an agent that there is not, until its time is up.
 * - `unreadable`: fails, and changes nothing.
 * - `read`: for the agent that changes nothing.
 */
export type Kind = "chain" | "own" | "large" | "hook" | "recalled" | "dropped" | "again" | "late" | "nobody" | "unreadable" | "read";

export type Mix = Readonly<Record<Kind, number>>;

/** How each kind may end. An agent that was killed three times over the same event gives it up, with the code that says so. */
export const ENDS: Readonly<Record<Kind, readonly State[]>> = {
  chain: ["completed"],
  own: ["completed"],
  large: ["completed"],
  hook: ["completed"],
  recalled: ["cancelled", "completed"],
  dropped: ["cancelled", "completed"],
  again: ["completed"],
  late: ["completed"],
  nobody: ["expired"],
  unreadable: ["failed"],
  read: ["completed"],
};

export interface Made {
  readonly id: string;
  readonly kind: Kind;
  readonly agent: string;
  readonly writes: readonly { readonly object: string; readonly n: number }[];
  readonly body: string;
}

const MS = 1_000_000;

/** 64 KiB of text each, which no encoding makes much smaller: several pieces on the wire. */
function incompressible(parts: number): string {
  return Array.from({ length: parts }, () => crypto.getRandomValues(new Uint8Array(49_152)).toBase64()).join("");
}

function configMap(name: string, data: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>> = {}): string {
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: NAMESPACE, labels }, data });
}

/** Makes the events of one worker: its chains are its own, and it hands in one after the other, so the order accepted is the order made. */
export class EventMaker {
  readonly #worker: number;
  readonly #dice: Dice;
  readonly #next = new Map<string, number>();

  constructor(worker: number, dice: Dice) {
    this.#worker = worker;
    this.#dice = dice;
  }

  make(kind: Kind): Made {
    const id = `${kind}-${this.#worker}-${crypto.randomUUID().slice(0, 13)}`;
    switch (kind) {
      case "chain":
        // Priorities must not bring a chain out of order.
        return this.#made(kind, id, [this.#link(`chain-${this.#worker}`)], { priority: this.#dice.between(-2, 2) * 5 });
      case "large": {
        const manifest = this.#link(`chain-${this.#worker}`);
        const big = this.#link(`large-${this.#worker}`, { pad: incompressible(8) });
        return this.#made(kind, id, [manifest, big]);
      }
      case "hook":
        return this.#made(kind, id, [this.#link(`hook-${this.#worker}`, {}, HOOK_LABEL)], PATIENT);
      case "recalled":
        return this.#made(kind, id, [{ object: id, n: 0, data: {}, labels: HOOK_LABEL }], { ...PATIENT, priority: 100 });
      case "own":
      case "again":
      case "dropped":
        return this.#made(kind, id, [{ object: id, n: 0, data: {}, labels: {} }]);
      case "late":
        return this.#made(kind, id, [{ object: id, n: 0, data: {}, labels: {} }], { delay: this.#dice.between(100, 900) * MS });
      case "nobody":
        return this.#made(kind, id, [{ object: id, n: 0, data: {}, labels: {} }], { target_agent: "nobody", ttl: 800 * MS });
      case "unreadable":
        return this.#made(kind, id, [], { payload: { manifests: ["a: [1"] } });
      case "read":
        return this.#made(kind, id, [{ object: `read-${this.#worker}`, n: 0, data: {}, labels: {} }], { target_agent: AGENTS.reader });
    }
  }

  #link(object: string, data: Readonly<Record<string, string>> = {}, labels: Readonly<Record<string, string>> = {}): Link {
    const n = (this.#next.get(object) ?? 0) + 1;
    this.#next.set(object, n);
    return { object, n, data, labels };
  }

  #made(kind: Kind, id: string, links: readonly Link[], parts: Readonly<Record<string, unknown>> = {}): Made {
    const event = {
      id,
      type: "k8s_resource",
      target_agent: AGENTS.writer,
      payload: { manifests: links.map(({ object, n, data, labels }) => configMap(object, { event: id, n: String(n), ...data }, labels)) },
      ...parts,
    };
    const writes = links.map(({ object, n }) => ({ object, n }));
    return { id, kind, agent: event.target_agent, writes, body: JSON.stringify(event) };
  }
}

interface Link {
  readonly object: string;
  readonly n: number;
  readonly data: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
}

/** The webhook is away for a second or two, several times over if need be. */
const PATIENT = { retry: { attempts: 100, backoff: 100 * MS, max_backoff: 500 * MS } } as const;
