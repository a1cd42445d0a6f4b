import { type Logger, type Ports, TransporterError } from "../../../kit/mod.ts";
import { openRedis, type RedisAddress, type RedisClient, type RedisLink } from "../../../redis/mod.ts";
import type { Store } from "../../port.ts";
import { agentOf, auditOf, COMPAT_STATES, statsOf, statusOf } from "./compat-shapes.ts";

export interface CompatKeysOptions {
  readonly address: RedisAddress;
  readonly ports: Ports;
  readonly log: Logger;
}

/** 0.1 knew no tenants: its keys show this one. */
const TENANT = "default";
const LOOK_MS = 250;
const AGENTS_EVERY_MS = 5_000;
const PRUNE_EVERY_MS = 60_000;
/** One control plane at a time writes; another goes on when it has not been heard of for so long. */
const TURN_MS = 10_000;
const BATCH = 200;
/** Entries of one event lie near each other, and it is written once for all that are seen together. */
const LOG_BATCH = 2_000;
const MOST_AUDIT = 100_000;

const KEYS = {
  turn: "transporter:compat-turn",
  log: "transporter:compat-log",
  audit: "transporter:compat-audit",
  /** Where our entries begin in `audit:log`; `transporter migrate` reads up to there. */
  since: "transporter:compat-since",
  agents: "transporter:compat-agents",
  events: "transporter:compat-events",
} as const;

/**
 * Keeps 0.1's keys (`event:status:<id>`, `events:state:<state>`, `agent:events:<agent>`, `agent:<id>`, `agents:all`, `agents:cluster:<name>`,
 * `audit:log`, `stats:*`) beside our own, for people's scripts: a view, written some hundred milliseconds after the fact, never waited for and
 * read by nothing of ours. It ends with the store that comes back.
 */
export async function keepCompatKeys(store: Store, options: CompatKeysOptions): Promise<Store> {
  if (options.address.kind === "cluster") {
    await store.close();
    throw new TransporterError("STORE_INVALID", "the keys of 0.1 cannot be kept in a Redis Cluster: they would lie on many nodes", {
      remedy: "Leave --redis-compat-keys out, or use a Redis that is no cluster.",
    });
  }
  const { ports, log } = options;
  let link: RedisLink;
  try {
    link = await openRedis(options.address, { ports, log, purpose: "compat-keys" });
  } catch (error) {
    await store.close();
    throw error;
  }
  const view = new CompatKeys(store, link, options);
  view.start();
  return {
    ...store,
    close: async () => {
      await view.stop();
      await store.close();
    },
  };
}

class CompatKeys {
  readonly #store: Store;
  readonly #link: RedisLink;
  readonly #ports: Ports;
  readonly #log: Logger;
  readonly #id: string;
  #running: Promise<void> | undefined;
  readonly #stopping = new AbortController();
  #agentsAtMs = Number.NEGATIVE_INFINITY;
  #prunedAtMs = Number.NEGATIVE_INFINITY;
  #agents: ReadonlyMap<string, string> | undefined;
  #stats = "";
  #failed = false;

  constructor(store: Store, link: RedisLink, { ports, log }: CompatKeysOptions) {
    this.#store = store;
    this.#link = link;
    this.#ports = ports;
    this.#log = log;
    this.#id = ports.ids.uuid();
  }

  get #client(): RedisClient {
    return this.#link.client;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    // So that another need not wait for its turn.
    if (this.#link.up && (await this.#client.get(KEYS.turn).catch(() => null)) === this.#id)
      await this.#client.del(KEYS.turn).catch(() => 0);
    await this.#link.close();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      let more = false;
      try {
        more = this.#link.up && (await this.#myTurn()) && (await this.#look());
        this.#failed = false;
      } catch (error) {
        const fault = this.#link.fault(error);
        // That Redis is away is said by the connection itself.
        if (!this.#failed && !stopped() && fault.kind !== "unavailable")
          this.#log.warn("Keys of 0.1 cannot be kept just now", { error: fault.message, code: fault.code });
        this.#failed = true;
        // Whether it was written is not known; what is remembered of it may be wrong.
        this.#agents = undefined;
        this.#stats = "";
      }
      if (more) continue;
      await this.#ports.timers.sleep(this.#failed ? LOOK_MS * 4 : LOOK_MS, signal).catch(() => undefined);
    }
  }

  async #myTurn(): Promise<boolean> {
    if ((await this.#client.set(KEYS.turn, this.#id, "PX", TURN_MS, "NX")) === "OK") {
      // What another one wrote meanwhile is not known here.
      this.#agents = undefined;
      this.#stats = "";
      return true;
    }
    if ((await this.#client.get(KEYS.turn)) !== this.#id) return false;
    await this.#client.pexpire(KEYS.turn, TURN_MS);
    return true;
  }

  /** Whether there may be more at once. */
  async #look(): Promise<boolean> {
    const events = await this.#followEvents();
    const audit = await this.#followAudit();
    const nowMs = this.#ports.clock.monotonic();
    if (nowMs - this.#agentsAtMs >= AGENTS_EVERY_MS) {
      await this.#writeAgents();
      this.#agentsAtMs = nowMs;
    }
    if (nowMs - this.#prunedAtMs >= PRUNE_EVERY_MS) {
      await this.#prune();
      this.#prunedAtMs = nowMs;
    }
    return events || audit;
  }

  /** Events are written as they stand now, so it does no harm to write one twice. */
  async #followEvents(): Promise<boolean> {
    const afterSeq = Number((await this.#client.get(KEYS.log)) ?? 0);
    const entries = await this.#store.logAfter({ tenant: TENANT, afterSeq, limit: LOG_BATCH });
    const last = entries.at(-1);
    if (last === undefined) return false;
    const ids = [...new Set(entries.map(({ event_id: id }) => id))];
    for (let at = 0; at < ids.length; at += BATCH) await this.#writeEvents(ids.slice(at, at + BATCH));
    const stats = statsOf(await this.#store.counters());
    const text = JSON.stringify([...stats]);
    const batch = this.#client.multi();
    if (text !== this.#stats) for (const [key, count] of stats) batch.set(key, count);
    batch.set(KEYS.log, last.seq);
    await this.#commit(batch);
    this.#stats = text;
    return entries.length === LOG_BATCH;
  }

  async #writeEvents(ids: readonly string[]): Promise<void> {
    const events = await Promise.all(ids.map((id) => this.#store.getEvent(TENANT, id, { payload: false, log: true })));
    const batch = this.#client.multi();
    for (const event of events) {
      if (event === undefined) continue;
      const { id, agentId, state, receivedAtMs, untilMs, json } = statusOf(event);
      if (untilMs <= this.#ports.clock.now()) continue;
      batch.set(`event:status:${id}`, json, "PXAT", untilMs);
      for (const other of COMPAT_STATES) if (other !== state) batch.srem(`events:state:${other}`, id);
      batch.sadd(`events:state:${state}`, id);
      batch.zadd(`agent:events:${agentId}`, Math.floor(receivedAtMs / 1000), id);
      batch.zadd(KEYS.events, untilMs, JSON.stringify([id, agentId]));
    }
    if (batch.length > 1) await this.#commit(batch);
  }

  /** Entries and how far they go in one transaction: none comes twice. */
  async #followAudit(): Promise<boolean> {
    const afterSeq = Number((await this.#client.get(KEYS.audit)) ?? 0);
    const entries = await this.#store.auditAfter(TENANT, afterSeq, BATCH);
    const last = entries.at(-1);
    if (last === undefined) return false;
    const batch = this.#client.multi();
    if (afterSeq === 0) batch.setnx(KEYS.since, await this.#nextStreamId());
    for (const entry of entries) {
      // It came, went or was changed: not only heard of, which may wait.
      if (entry.action.startsWith("agent_")) this.#agentsAtMs = Number.NEGATIVE_INFINITY;
      // Brought over from 0.1: there it is.
      if (typeof entry.details?.["from_0_1"] === "string") continue;
      batch.xadd("audit:log", "MAXLEN", "~", MOST_AUDIT, "*", "data", auditOf(entry));
    }
    batch.set(KEYS.audit, last.seq);
    await this.#commit(batch);
    return entries.length === BATCH;
  }

  async #nextStreamId(): Promise<string> {
    const [last] = await this.#client.xrevrange("audit:log", "+", "-", "COUNT", 1);
    const [ms = "0", no = "0"] = last?.[0].split("-") ?? [];
    return `${ms}-${BigInt(no) + 1n}`;
  }

  async #writeAgents(): Promise<void> {
    const now = new Map<string, string>();
    const clusters = new Map<string, string>();
    let cursor: string | undefined;
    do {
      const page = await this.#store.listAgents({ tenant: TENANT, limit: BATCH, ...(cursor === undefined ? {} : { cursor }) });
      for (const stored of page.items) {
        const { id, cluster, json } = agentOf(stored);
        now.set(id, json);
        clusters.set(id, cluster);
      }
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    // Only what was written here is taken away again: the rest is somebody else's.
    const before = new Map(Object.entries(await this.#client.hgetall(KEYS.agents)));
    const batch = this.#client.multi();
    for (const [id, json] of now) {
      if (this.#agents?.get(id) === json) continue;
      const cluster = clusters.get(id) ?? "";
      const was = before.get(id);
      if (was !== undefined && was !== cluster) batch.srem(`agents:cluster:${was}`, id);
      batch.set(`agent:${id}`, json).sadd("agents:all", id).sadd(`agents:cluster:${cluster}`, id).hset(KEYS.agents, id, cluster);
    }
    for (const [id, cluster] of before) {
      if (now.has(id)) continue;
      batch.del(`agent:${id}`).srem("agents:all", id).srem(`agents:cluster:${cluster}`, id).hdel(KEYS.agents, id);
    }
    if (batch.length > 1) await this.#commit(batch);
    this.#agents = now;
  }

  /** 0.1's sets kept what had long run out; these do not. */
  async #prune(): Promise<void> {
    for (;;) {
      const gone = await this.#client.zrangebyscore(KEYS.events, "-inf", this.#ports.clock.now(), "LIMIT", 0, BATCH);
      if (gone.length === 0) return;
      const batch = this.#client.multi();
      for (const member of gone) {
        const [id = "", agentId = ""] = JSON.parse(member) as string[];
        for (const state of COMPAT_STATES) batch.srem(`events:state:${state}`, id);
        batch.zrem(`agent:events:${agentId}`, id).zrem(KEYS.events, member);
      }
      await this.#commit(batch);
    }
  }

  async #commit(batch: ReturnType<RedisClient["multi"]> & { exec(): Promise<[Error | null, unknown][] | null> }): Promise<void> {
    const answers = await batch.exec();
    const failed = answers?.find(([error]) => error !== null)?.[0];
    if (failed !== undefined && failed !== null) throw failed;
  }
}
