import { createHash } from "node:crypto";
import { Backoff, type Logger, type Ports, toTransporterError } from "../kit/mod.ts";
import type { AuditEntry, LogEntry } from "../protocol/mod.ts";
import type { Outlet, OutletEvent } from "../queues/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { Bell } from "./bell.ts";

export type OutletKind = "status" | "audit";

const BATCH = 500;
/** Entries come in bursts; each batch costs a mark. */
const GATHER_MS = 50;
/** How often it looks without being rung: audit entries ring nothing, and other control planes' words may get lost. */
const LOOK_MS = 1_000;
const RETRY = { firstMs: 250, maxMs: 10_000 };
/** Entries that a store may write between losing some and our seeing it. */
const REWIND = 1_000;
/** Events whose trace context is remembered. */
const MAX_KNOWN = 5_000;
/** The mark under which the installation's own name is kept. */
const INSTALLATION = "installation";
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
  readonly #traces = new Map<string, string | undefined>();
  #installation: string | undefined;
  #following: Promise<void> | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
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
        const source = await this.#source();
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

  /** The installation, whichever control plane speaks for it. Two that make its name at once agree on the one that stands there afterwards. */
  async #source(): Promise<string> {
    if (this.#installation !== undefined) return this.#installation;
    const { store, ports } = this.#options;
    if ((await store.mark(INSTALLATION)) === undefined) await store.saveMark(INSTALLATION, ports.ids.uuid());
    this.#installation = `urn:transporter:${await store.mark(INSTALLATION)}`;
    return this.#installation;
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
    const events = await Promise.all(
      entries.map((entry) => ("state" in entry ? this.#statusEvent(entry, source) : Promise.resolve(this.#auditEvent(entry, source)))),
    );
    return { events, last: entries.at(-1)?.seq ?? after, more: entries.length >= BATCH };
  }

  async #statusEvent(entry: LogEntry, source: string): Promise<OutletEvent> {
    const traceparent = await this.#traceOf(entry.event_id);
    const { result, details, ...rest } = entry;
    const envelope = {
      specversion: "1.0",
      id: `status-${entry.seq}`,
      source,
      type: "dev.transporter.event.status.v1",
      subject: entry.event_id,
      time: entry.timestamp,
      datacontenttype: "application/json",
      ...(traceparent === undefined ? {} : { traceparent }),
    };
    let body = JSON.stringify({ ...envelope, data: entry });
    // The result of some thousand objects is more than a message may have; who wants it asks the control plane.
    if (Buffer.byteLength(body) > this.#options.outlet.info.maxMessageBytes - ENVELOPE_BYTES)
      body = JSON.stringify({
        ...envelope,
        data: { ...rest, left_out: [...(details === undefined ? [] : ["details"]), ...(result === undefined ? [] : ["result"])] },
      });
    return { id: idOf("status", entry, source), kind: "status", agentId: entry.agent_id, body };
  }

  #auditEvent(entry: AuditEntry, source: string): OutletEvent {
    const subject = entry.event_id ?? entry.agent_id;
    const body = JSON.stringify({
      specversion: "1.0",
      id: `audit-${entry.seq}`,
      source,
      type: "dev.transporter.audit.v1",
      ...(subject === undefined ? {} : { subject }),
      time: entry.timestamp,
      datacontenttype: "application/json",
      data: entry,
    });
    return { id: idOf("audit", entry, source), kind: "audit", agentId: entry.agent_id, body };
  }

  async #traceOf(eventId: string): Promise<string | undefined> {
    const known = this.#traces.get(eventId);
    if (known !== undefined || this.#traces.has(eventId)) return known;
    const { store, tenant } = this.#options;
    const stored = await store.getEvent(tenant, eventId, { payload: false, log: false });
    if (this.#traces.size >= MAX_KNOWN) this.#traces.clear();
    this.#traces.set(eventId, stored?.summary.traceparent);
    return stored?.summary.traceparent;
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
