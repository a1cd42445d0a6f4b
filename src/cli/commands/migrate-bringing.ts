import { createHash } from "node:crypto";
import type { State } from "../../protocol/mod.ts";
import type { RedisLink } from "../../redis/mod.ts";
import type { Store } from "../../stores/mod.ts";
import { FORMER_ID, formerCounters, readAgent, readAudit, readStatus, type Reading } from "./migrate-reading.ts";

/** What became of one kind of thing. */
export interface Brought {
  found: number;
  /** Written now; of a dry run, what would be. */
  brought: number;
  /** There before, from an earlier run or by the same name, and left as it was. */
  present: number;
  unreadable: number;
}

export interface Summary {
  readonly agents: Brought;
  readonly events: Brought;
  readonly audit: Brought;
  readonly counters: Brought;
  /** Events that 0.1 had not ended, by the state in which it left them. */
  readonly unfinished: Map<State, string[]>;
  /** What could not be read, and why; the first of many. */
  readonly unread: string[];
}

export interface BringOptions {
  readonly source: RedisLink;
  /** Undefined: look only. */
  readonly target: Store | undefined;
  readonly tenant: string;
  readonly nowMs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (line: string) => void;
}

const BATCH = 200;
/** Small: an end in the middle leaves at most so many audit entries to look for again. */
const AUDIT_BATCH = 100;
const MOST_UNREAD = 20;
/** Who sent an event stands in the audit log alone; of an endless one the newest are remembered. */
const MOST_SENDERS = 200_000;
const PROGRESS_EVERY = 10_000;
const STATES = ["created", "queued", "assigned", "in_progress", "completed", "failed", "expired"] as const;

/** Brings what lies in a Redis of 0.1 into a store. May be run again: what is there is left as it is. Nothing in the source is changed. */
export async function bringFrom01(options: BringOptions): Promise<Summary> {
  return new Bringing(options).run();
}

class Bringing {
  readonly #options: BringOptions;
  readonly #summary: Summary = {
    agents: { found: 0, brought: 0, present: 0, unreadable: 0 },
    events: { found: 0, brought: 0, present: 0, unreadable: 0 },
    audit: { found: 0, brought: 0, present: 0, unreadable: 0 },
    counters: { found: 0, brought: 0, present: 0, unreadable: 0 },
    unfinished: new Map(),
    unread: [],
  };
  readonly #senders = new Map<string, string>();
  readonly #seen = new Map<State, number>();

  constructor(options: BringOptions) {
    this.#options = options;
  }

  async run(): Promise<Summary> {
    const source = await this.#fingerprint();
    await this.#agents();
    await this.#audit(source);
    await this.#events();
    await this.#counters(source);
    return this.#summary;
  }

  get #client(): RedisLink["client"] {
    return this.#options.source.client;
  }

  /** Tells one 0.1 from another, by whatever name it is reached: its log was never cut, so its first entry is its own. */
  async #fingerprint(): Promise<string> {
    const [first] = await this.#client.xrange("audit:log", "-", "+", "COUNT", 1);
    const text = first === undefined ? this.#options.source.address.location : `${first[0]} ${first[1].join(" ")}`;
    return createHash("sha256").update(text).digest("hex").slice(0, 16);
  }

  #unreadable(brought: Brought, key: string, why: string): void {
    brought.unreadable += 1;
    if (this.#summary.unread.length < MOST_UNREAD) this.#summary.unread.push(`${key}: ${why}`);
  }

  #told(what: string, { found }: Brought): void {
    if (found % PROGRESS_EVERY === 0 && found > 0) this.#options.onProgress(`${found} ${what} read`);
  }

  /** The values of these keys; undefined for one that is gone or of another type. */
  async #values(keys: readonly string[]): Promise<(string | undefined)[]> {
    const answers = await this.#client.pipeline(keys.map((key) => ["get", key])).exec();
    return (answers ?? []).map(([error, value]) => {
      if (error !== null && !error.message.startsWith("WRONGTYPE")) throw error;
      return typeof value === "string" ? value : undefined;
    });
  }

  async #bring<T>(
    brought: Brought,
    key: string,
    reading: Reading<T>,
    write: (target: Store, value: T) => Promise<boolean>,
  ): Promise<boolean> {
    if (!reading.ok) {
      this.#unreadable(brought, key, reading.why);
      return false;
    }
    const { target } = this.#options;
    const fresh = target === undefined || (await write(target, reading.value));
    if (fresh) brought.brought += 1;
    else brought.present += 1;
    return fresh;
  }

  async #agents(): Promise<void> {
    const { agents } = this.#summary;
    const { tenant, nowMs, signal } = this.#options;
    const seen = new Set<string>();
    let cursor = "0";
    do {
      signal.throwIfAborted();
      const [next, members] = await this.#client.sscan("agents:all", cursor, "COUNT", BATCH);
      cursor = next;
      const ids = members.filter((id) => !seen.has(id));
      for (const id of ids) seen.add(id);
      const values = await this.#values(ids.map((id) => `agent:${id}`));
      await Promise.all(
        ids.map(async (id, index) => {
          agents.found += 1;
          const text = values[index];
          const reading: ReturnType<typeof readAgent> =
            text === undefined ? { ok: false, why: "agents:all names it, but there is no such key" } : readAgent(text, { tenant, nowMs });
          await this.#bring(agents, `agent:${id}`, reading, (target, agent) => target.importAgent(agent));
        }),
      );
    } while (cursor !== "0");
  }

  async #audit(source: string): Promise<void> {
    const { audit } = this.#summary;
    const { target, tenant, signal } = this.#options;
    const mark = `migrate 0.1 audit ${source}`;
    const upTo = await target?.mark(mark);
    const end = await this.#end();
    let from = "-";
    // What an earlier run wrote right before it was ended may be there without its mark.
    let doubtful = true;
    for (;;) {
      signal.throwIfAborted();
      const entries = await this.#client.xrange("audit:log", from, end, "COUNT", AUDIT_BATCH);
      if (entries.length === 0) return;
      from = `(${entries.at(-1)?.[0] ?? ""}`;
      const readings = entries.map(([id, fields]) => [id, readAudit(id, fieldOf(fields, "data"), tenant)] as const);
      const fresh = readings.filter(([id]) => upTo === undefined || isAfter(id, upTo));
      const there: ReadonlySet<string> = doubtful && fresh.length > 0 ? await this.#thereAlready(fresh) : new Set();
      if (fresh.length > 0) doubtful = there.size > 0;
      const writes: Promise<unknown>[] = [];
      for (const [id, reading] of readings) {
        audit.found += 1;
        if (!reading.ok) {
          this.#unreadable(audit, `audit:log ${id}`, reading.why);
          continue;
        }
        const { eventId, user } = reading.value;
        if (eventId !== undefined && user !== undefined) this.#sentBy(eventId, user);
        if ((upTo !== undefined && !isAfter(id, upTo)) || there.has(id)) {
          audit.present += 1;
          continue;
        }
        audit.brought += 1;
        if (target !== undefined) writes.push(target.appendAudit(reading.value));
      }
      // In one breath with the entries, so that drivers commit them together.
      if (target !== undefined && fresh.length > 0) writes.push(target.saveMark(mark, entries.at(-1)?.[0] ?? ""));
      await Promise.all(writes);
      this.#told("audit entries", audit);
    }
  }

  /** Up to where the log is 0.1's: where its keys are kept up for scripts, what comes later is a copy of our own. */
  async #end(): Promise<string> {
    const since = await this.#client.get(COMPAT_SINCE_KEY);
    return since === null ? "+" : `(${since}`;
  }

  #sentBy(eventId: string, user: string): void {
    if (this.#senders.size >= MOST_SENDERS) {
      const oldest = this.#senders.keys().next();
      if (oldest.done !== true) this.#senders.delete(oldest.value);
    }
    this.#senders.set(eventId, user);
  }

  async #thereAlready(entries: readonly (readonly [string, ReturnType<typeof readAudit>])[]): Promise<Set<string>> {
    const { target, tenant } = this.#options;
    const there = new Set<string>();
    const times = entries.flatMap(([, reading]) => (reading.ok ? [reading.value.atMs] : []));
    if (target === undefined || times.length === 0) return there;
    let cursor: string | undefined;
    do {
      const page = await target.listAudit({
        tenant,
        sinceMs: Math.min(...times),
        untilMs: Math.max(...times) + 1,
        limit: 500,
        ...(cursor === undefined ? {} : { cursor }),
      });
      for (const { details } of page.items) if (typeof details?.[FORMER_ID] === "string") there.add(details[FORMER_ID]);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    return there;
  }

  async #events(): Promise<void> {
    const { events, unfinished } = this.#summary;
    const { tenant, nowMs, signal } = this.#options;
    // SCAN may name a key more than once.
    const seen = new Set<string>();
    let cursor = "0";
    do {
      signal.throwIfAborted();
      const [next, all] = await this.#client.scan(cursor, "MATCH", "event:status:*", "COUNT", BATCH * 5);
      cursor = next;
      const keys = all.filter((key) => !seen.has(key));
      for (const key of keys) seen.add(key);
      for (let at = 0; at < keys.length; at += BATCH) {
        const some = keys.slice(at, at + BATCH);
        const values = await this.#values(some);
        await Promise.all(
          some.map(async (key, index) => {
            const text = values[index];
            // It ran out between the two looks.
            if (text === undefined) return;
            events.found += 1;
            this.#told("events", events);
            const reading = readStatus(text, { tenant, createdBy: this.#senders.get(key.slice("event:status:".length)), nowMs });
            const fresh = await this.#bring(events, key, reading, (target, { event }) => target.importEvent(event));
            if (!reading.ok) return;
            const { event, unfinished: left } = reading.value;
            this.#seen.set(event.state, (this.#seen.get(event.state) ?? 0) + 1);
            if (!fresh || left === undefined) return;
            const others = unfinished.get(left);
            if (others === undefined) unfinished.set(left, [event.id]);
            else others.push(event.id);
          }),
        );
      }
    } while (cursor !== "0");
  }

  async #counters(source: string): Promise<void> {
    const { counters } = this.#summary;
    const { target } = this.#options;
    const values = await this.#values(["stats:events:total", ...STATES.map((state) => `stats:events:state:${state}`)]);
    const stats = new Map<string, number>();
    for (const [index, name] of ["total", ...STATES].entries()) {
      const text = values[index];
      if (text === undefined) continue;
      if (/^\d{1,15}$/.test(text)) stats.set(name, Number(text));
      else this.#unreadable(counters, `stats:events:${name}`, "it is no number");
    }
    const numbers = formerCounters(stats, this.#seen);
    counters.found = Object.keys(numbers).length;
    if (counters.found === 0) return;
    if (target === undefined || (await target.importCounters(`0.1 ${source}`, numbers))) counters.brought = counters.found;
    else counters.present = counters.found;
  }
}

/** Where the view of 0.1's keys that a control plane keeps begins in the stream `audit:log`. */
export const COMPAT_SINCE_KEY = "transporter:compat-since";

function fieldOf(fields: readonly string[], name: string): string {
  const at = fields.findIndex((field, index) => index % 2 === 0 && field === name);
  return at === -1 ? "" : (fields[at + 1] ?? "");
}

/** Ids of a stream are milliseconds and a number: texts of different lengths do not compare. */
function isAfter(id: string, other: string): boolean {
  const [ms = "", no = "0"] = id.split("-");
  const [otherMs = "", otherNo = "0"] = other.split("-");
  const difference = BigInt(ms) - BigInt(otherMs);
  return difference > 0n || (difference === 0n && BigInt(no) > BigInt(otherNo));
}
