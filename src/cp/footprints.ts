import { type Logger, messageOf, TransporterError, workerHref } from "../kit/mod.ts";
import { type LockSet, lockSet, parseManifests, plainLockSet, withNamed } from "../manifests/mod.ts";
import type { Payload } from "../protocol/mod.ts";
import type { DispatchItem } from "../stores/mod.ts";
import type { Payloads } from "./payloads.ts";
import { type Footprint, footprintOf, TOUCHES_NOTHING } from "./precedence.ts";

/** Above this many characters a payload is parsed off the main loop: YAML takes a second for each MiB. */
const OFF_LOOP_CHARS = 32 * 1024;

const NO_LOCKS: LockSet = { writes: new Set(), reads: new Set() };

/** The payload was checked at the door. */
type Touching = Pick<Payload, "manifests" | "references" | "patches">;

/** What manifests say; nothing, where they hold no object: an event may only name what it is about. */
function locksOfManifests(texts: readonly string[]): LockSet {
  const plain = plainLockSet(texts);
  if (plain !== undefined) return plain;
  try {
    return lockSet(parseManifests(texts));
  } catch (error) {
    if (error instanceof TransporterError && error.code === "EMPTY_MANIFESTS") return NO_LOCKS;
    throw error;
  }
}

/** What a payload touches, by its manifests and by what it only names. What cannot be parsed fails at its agent and touches nothing there. Pure. */
export function parseFootprint(payloadText: string): Footprint {
  try {
    const payload = JSON.parse(payloadText) as Touching;
    return footprintOf(withNamed(locksOfManifests(payload.manifests ?? []), payload));
  } catch {
    return TOUCHES_NOTHING;
  }
}

export interface FootprintAnswer {
  readonly id: number;
  readonly footprint: Footprint;
}

/** Finds out what waiting deliveries touch: small ones here and now, large ones in a worker that is started when first needed. */
export class Footprints {
  readonly #payloads: Pick<Payloads, "text">;
  readonly #log: Logger;
  readonly #offLoopChars: number;
  readonly #waiting = new Map<number, { readonly text: string; readonly resolve: (footprint: Footprint) => void }>();
  #worker: Worker | undefined;
  #nextId = 0;

  /** Texts of up to `offLoopChars` are parsed here and now. */
  constructor(payloads: Pick<Payloads, "text">, log: Logger, offLoopChars: number = OFF_LOOP_CHARS) {
    this.#payloads = payloads;
    this.#log = log;
    this.#offLoopChars = offLoopChars;
  }

  /** Throws nothing where the payload is inline; what the store throws where it lies apart. */
  of({ event, payload }: DispatchItem): Footprint | Promise<Footprint> {
    if (event.type !== "k8s_resource") return TOUCHES_NOTHING;
    if ("text" in payload) return this.#parse(payload.text);
    return this.#payloads.text(payload.apart).then((text) => (text === undefined ? TOUCHES_NOTHING : this.#parse(text)));
  }

  stop(): void {
    this.#end(() => TOUCHES_NOTHING);
  }

  #parse(text: string): Footprint | Promise<Footprint> {
    if (text.length <= this.#offLoopChars) return parseFootprint(text);
    const worker = (this.#worker ??= this.#start());
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise<Footprint>((resolve) => {
      this.#waiting.set(id, { text, resolve });
      worker.postMessage({ id, text });
    });
  }

  #start(): Worker {
    const worker = new Worker(workerHref("cp/footprint.worker.ts"));
    worker.addEventListener("message", ({ data }: MessageEvent<FootprintAnswer>) => {
      this.#waiting.get(data.id)?.resolve(data.footprint);
      this.#waiting.delete(data.id);
      if (this.#waiting.size === 0) worker.unref();
    });
    worker.addEventListener("error", (event) => {
      this.#log.error("The thread that parses manifests ended", { error: messageOf(event.message) });
      // Here and now then: order is promised, and a slow moment is not forbidden.
      if (this.#worker === worker) this.#end(parseFootprint);
    });
    worker.unref();
    return worker;
  }

  #end(answer: (text: string) => Footprint): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { text, resolve } of this.#waiting.values()) resolve(answer(text));
    this.#waiting.clear();
  }
}
