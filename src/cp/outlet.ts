import { createHash } from "node:crypto";
import { Backoff, type Logger, type Ports, toTransporterError } from "../kit/mod.ts";
import type { AuditEntry, LogEntry } from "../protocol/mod.ts";
import type { Outlet, OutletEvent } from "../queues/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { Bell } from "./bell.ts";
import { CloudEvents } from "./cloud-events.ts";

export type OutletKind = "status" | "audit";

const BATCH = 500;
/** Entries come in bursts; each batch costs a mark. */
const GATHER_MS = 50;
/** How often it looks without being rung: audit entries ring nothing, and other control planes' words may get lost. */
const LOOK_MS = 1_000;
const RETRY = { firstMs: 250, maxMs: 10_000 };
/** Entries that a store may write between losing some and our seeing it. */
const REWIND = 1_000;
/** What the envelope takes beside the data. */
const ENVELOPE_BYTES = 2_048;

export interface PublisherOptions {
  readonly outlet: Outlet;
  readonly kinds: readonly OutletKind[];
  readonly store: Pick<Store, "logAfter" | "lastSeq" | "auditAfter" | "listAudit" | "mark" | "saveMark" | "getEvent">;
  readonly bell: Bell;
  readonly ports: Ports;
  readonly log: Logger;
  readonly tenant: string;
  /** Whether this control plane is the one that publishes. */
  readonly isDue: () => boolean;
}

interface Progress {
  readonly kind: OutletKind;
  published: number;
  lag: number;
}

/**
 * Publishes what happens as CloudEvents, for others to read. It follows the store's log and audit from a mark that is kept there, far behind
 * whoever writes them: nothing waits for it. One control plane does it for all; when that changes, or it dies between publishing and its
 * mark, some entries are published again under the same id. It begins with what happens after it was first switched on.
 */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #progress: readonly Progress[];
  readonly #stopped = new AbortController();
  readonly #cloudEvents: CloudEvents;
  #following: Promise<void> | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#cloudEvents = new CloudEvents(options);
    this.#progress = options.kinds.map((kind) => ({ kind, published: 0, lag: 0 }));
  }

  get figures(): readonly Readonly<Progress>[] {
    return this.#options.isDue() ? this.#progress : [];
  }

  /** Notes where it begins, before anything happens: to be called before events and agents come. Throws what the store throws. */
  async begin(): Promise<void> {
    await Promise.all(this.#options.kinds.map((kind) => this.#begin(kind)));
  }

  /** This control plane publishes from here on, until it stops or another one does. Safe to call again. */
  start(): void {
    this.#following ??= this.#followAll();
  }

  async #followAll(): Promise<void> {
    // The duty may come back just when the last one is giving up.
    do await Promise.all(this.#progress.map((progress) => this.#follow(progress)));
    while (this.#goesOn());
    this.#following = undefined;
  }

  async stop(): Promise<void> {
    this.#stopped.abort(new Error("stopped"));
    await this.#options.outlet.close();
    await this.#following;
  }

  #goesOn(): boolean {
    return !this.#stopped.signal.aborted && this.#options.isDue();
  }

  async #follow(progress: Progress): Promise<void> {
    const { log, ports, outlet } = this.#options;
    const backoff = new Backoff(RETRY, ports.random);
    let failing = false;
    while (this.#goesOn()) {
      try {
        const source = await this.#cloudEvents.source();
        // The mark is asked for each time: it goes back with a store that lost its last second, and what is remembered here would not.
        const { after, newest } = await this.#begin(progress.kind);
        progress.lag = newest - after;
        const { events, last, more } = await this.#read(progress.kind, source, after);
        if (events.length > 0) {
          await outlet.emit(events);
          progress.published += events.length;
          // Whoever lost the duty meanwhile must not set back the mark of the one that has it.
          if (this.#goesOn()) await this.#options.store.saveMark(markOf(progress.kind), String(last));
          progress.lag = Math.max(0, progress.lag - events.length);
        }
        if (failing) log.info("What happens is published again", { kind: progress.kind, outlet: outlet.info.location });
        failing = false;
        backoff.reset();
        if (!more) await this.#news();
      } catch (error) {
        if (!this.#goesOn()) return;
        const { code, message } = toTransporterError(error);
        if (!failing)
          log.warn("What happens cannot be published", { kind: progress.kind, outlet: outlet.info.location, code, error: message });
        failing = true;
        await this.#sleep(100 + backoff.next());
      }
    }
  }

  /** Until something is new, or it is time to look. */
  async #news(): Promise<void> {
    const rung = Promise.withResolvers<void>();
    const silence = this.#options.bell.listen(undefined, () => rung.resolve());
    await Promise.race([rung.promise, this.#sleep(LOOK_MS)]);
    silence();
    await this.#sleep(GATHER_MS);
  }

  #sleep(ms: number): Promise<void> {
    return this.#options.ports.timers.sleep(ms, this.#stopped.signal).catch(() => undefined);
  }

  /** Where to go on, and how far there is to go. */
  async #begin(kind: OutletKind): Promise<{ readonly after: number; readonly newest: number }> {
    const { store, log } = this.#options;
    // In this order: what comes in between makes the newest higher, never the mark.
    const text = await store.mark(markOf(kind));
    const newest = await this.#newest(kind);
    const mark = text === undefined ? Number.NaN : Number(text);
    if (mark <= newest) return { after: mark, newest };
    if (mark > newest) log.warn("The store has less than was published: some of it may be published again", { kind, mark, newest });
    // What it has by now may be new already, under numbers that it lost: better said twice than not at all.
    const after = mark > newest ? Math.max(0, newest - REWIND) : newest;
    await store.saveMark(markOf(kind), String(after));
    return { after, newest };
  }

  async #newest(kind: OutletKind): Promise<number> {
    const { store, tenant } = this.#options;
    if (kind === "status") return store.lastSeq();
    return (await store.listAudit({ tenant, limit: 1 })).items[0]?.seq ?? 0;
  }

  async #read(kind: OutletKind, source: string, after: number): Promise<{ events: OutletEvent[]; last: number; more: boolean }> {
    const { store, tenant } = this.#options;
    const entries =
      kind === "status" ? await store.logAfter({ tenant, afterSeq: after, limit: BATCH }) : await store.auditAfter(tenant, after, BATCH);
    const events = await Promise.all(entries.map((entry: LogEntry | AuditEntry) => this.#emitted(entry, source)));
    return { events, last: entries.at(-1)?.seq ?? after, more: entries.length >= BATCH };
  }

  async #emitted(entry: LogEntry | AuditEntry, source: string): Promise<OutletEvent> {
    const { outlet } = this.#options;
    const kind = "state" in entry ? "status" : "audit";
    // The result of some thousand objects is more than a message may have; who wants it asks the control plane.
    const body =
      "state" in entry
        ? await this.#cloudEvents.status(entry, outlet.info.maxMessageBytes - ENVELOPE_BYTES)
        : await this.#cloudEvents.audit(entry);
    return { id: idOf(kind, entry, source), kind, agentId: entry.agent_id, body };
  }
}

function markOf(kind: OutletKind): string {
  return `outlet-${kind}`;
}

/**
 * By what an outlet knows that it has an entry already. Its number alone would not do: a store that was restored, or lost its last second,
 * gives numbers again, and what is new must not be taken for what was there before.
 */
function idOf(kind: OutletKind, entry: LogEntry | AuditEntry, source: string): string {
  const hash = createHash("sha256").update(source).update(JSON.stringify(entry)).digest("hex").slice(0, 16);
  return `${kind}-${entry.seq}-${hash}`;
}
