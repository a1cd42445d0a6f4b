import { type Logger, type Ports, TransporterError } from "../../../kit/mod.ts";
import { inspectRedis, openRedis, type RedisAddress, type RedisLink } from "../../../redis/mod.ts";
import type { Ended, Store } from "../../port.ts";
import { claimAgent, getAgent, importAgent, Leases, listAgents, pauseAgent, releaseAgent, touchAgents } from "./agents.ts";
import { Bell } from "./bell.ts";
import { Calls, type Operation } from "./calls.ts";
import { documentsAfter, getDocument, lastDocumentSeq, listDocuments, writeDocument } from "./documents.ts";
import { expireSome, importCounters, nextDue, removeSome } from "./endings.ts";
import { auditRow, contentDigest, createEvent, getEvent, importEvent, retryEvent } from "./events.ts";
import { applyStatus, cancelEvent, handedOver, moveDelivery, positions } from "./handling.ts";
import { counters, lastSeq, Listing, openCounts } from "./listing.ts";
import { Payloads } from "./payloads.ts";
import { nextStart, openDeliveries, waitingBefore } from "./waiting.ts";

export interface RedisStoreOptions {
  readonly address: RedisAddress;
  readonly ports: Ports;
  readonly log: Logger;
}

/** Written to `{prefix}:schema`: how the keys are to be read. */
const SCHEMA_VERSION = 1;
/** How many deliveries one step of a bounded job takes: some milliseconds. */
const STEP_ROWS = 64;

/**
 * Opens the shared store. STORE_UNAVAILABLE, STORE_DENIED, STORE_INVALID, STORE_TOO_NEW.
 *
 * Keys, all beginning with the hash tag `{prefix}:`, so that they lie together on a cluster. Shards to come would each have a tag of their own
 * (`{prefix.2}:`), with everything of an agent on one of them; nothing here refers to a key by anything but its own installation's tag.
 * EVENT and AGENT are the tenant's length and name, and the id (`7:default:ID`).
 *
 * - `e:EVENT` an event: what was asked, its payload or where that lies, and its deliveries, packed (delivery.lua)
 * - `w: v: y: h:` and AGENT: what waits, by priority and as accepted; what waits for its time; what was handed over
 * - `due` `fin` deliveries by when they are due, and by when they ended; `evs` `evo` `evu` events by number: all, open, ended without success
 * - `log` `audit` streams; their ids are the sequence numbers. `n` counters and last numbers given. `oq` `of` open deliveries by agent
 * - `a:AGENT` `as` agents; `lease:` `replicas` `ra:` `rs` `duty:` control planes; `t:` `x:` `xp:` `xo` payloads by digest
 * - `d:KEY` documents; `ds` `dq` `dx` them by name, by the number of their last write, and by when they expire
 * - `c:CLIENT` answers of the last calls, for two minutes; `words` the channel; `marks` `sources` `schema`
 */
export async function openRedisStore({ address, ports, log }: RedisStoreOptions): Promise<Store> {
  const link = await openRedis(address, { ports, log, purpose: "store" });
  try {
    const schemaVersion = await checkSchema(link);
    const hearing = await link.duplicate({ purpose: "words" });
    return assemble({ link, hearing, schemaVersion, ports, log });
  } catch (error) {
    await link.close();
    throw link.fault(error);
  }
}

async function checkSchema(link: RedisLink): Promise<number> {
  const key = `{${link.address.prefix}}:schema`;
  await link.client.setnx(key, SCHEMA_VERSION);
  const version = Number(await link.client.get(key));
  if (version > SCHEMA_VERSION)
    throw new TransporterError(
      "STORE_TOO_NEW",
      `the store in Redis at ${link.address.location} has schema ${version}; this version knows ${SCHEMA_VERSION}`,
    );
  return version;
}

interface Parts {
  readonly link: RedisLink;
  readonly hearing: RedisLink;
  readonly schemaVersion: number;
  readonly ports: Ports;
  readonly log: Logger;
}

function assemble({ link, hearing, schemaVersion, ports, log }: Parts): Store {
  const { clock, timers } = ports;
  const clientId = ports.ids.uuid();
  const bell = new Bell({ clientId, speaking: link, hearing, clock, log });
  const calls = new Calls({ link, clientId, timers, clock, log, durable: (words) => bell.say(words) });
  const run = <T>(operation: Operation<T>): Promise<T> => calls.run(operation);
  const listing = new Listing(calls);
  const payloads = new Payloads({ calls, link, clock });
  const leases = new Leases(calls);

  const removeAgent: Store["removeAgent"] = async (tenant, id, nowMs, audit) => {
    const ended: Ended[] = [];
    for (;;) {
      // The agent goes with its last delivery: a crash in between leaves an agent that can be removed again.
      const step = await run(removeSome(tenant, id, nowMs, STEP_ROWS, audit));
      if (step === undefined) return ended.length === 0 ? undefined : ended;
      ended.push(...step.ended);
      if (step.last) return ended;
    }
  };

  const expireDue: Store["expireDue"] = async (nowMs, limit) => {
    const ended: Ended[] = [];
    while (ended.length < limit) {
      const most = Math.min(STEP_ROWS, limit - ended.length);
      const step = await run(expireSome(nowMs, most));
      ended.push(...step.ended);
      if (step.seen < most) break;
    }
    return ended;
  };

  const close = async (): Promise<void> => {
    await calls.close();
    await Promise.all([hearing.close(), link.close()]);
  };

  let closing: Promise<void> | undefined;
  return {
    info: { driver: "redis", location: link.address.location, schemaVersion, shared: true },
    savePayload: (payload) => payloads.save(payload),
    payloadPiece: (digest, offset) => payloads.piece(digest, offset),
    createEvent: (input) => run(createEvent(input)),
    getEvent: (tenant, id, options) => run(getEvent(tenant, id, options)),
    contentDigest: (tenant, id) => run(contentDigest(tenant, id)),
    listEvents: async (query) => listing.events(query),
    openDeliveries: async (query) => (query.states.length === 0 || query.maxItems < 1 ? [] : run(openDeliveries(query))),
    waitingBefore: async (query) => (query.maxItems < 1 ? [] : run(waitingBefore(query))),
    nextStartMs: (tenant, agentId, nowMs) => run(nextStart(tenant, agentId, nowMs)),
    positions: (tenant, agentId, keys) => run(positions(tenant, agentId, keys)),
    handedOver: (tenant, agentId) => run(handedOver(tenant, agentId)),
    moveDelivery: async (move) => (await run(moveDelivery(move))).outcome,
    applyStatus: (status) => run(applyStatus(status)),
    cancelEvent: (input) => run(cancelEvent(input)),
    retryEvent: (input) => run(retryEvent(input)),
    expireDue,
    nextDueMs: () => run(nextDue()),
    logAfter: (query) => listing.log(query),
    lastSeq: () => run(lastSeq()),
    claimAgent: (claim, audit) => run(claimAgent(claim, audit)),
    releaseAgent: (release, audit) => run(releaseAgent(release, audit)),
    importAgent: (agent) => run(importAgent(agent)),
    touchAgents: (seen) => touchAgents(calls, seen),
    getAgent: (tenant, id) => run(getAgent(tenant, id)),
    listAgents: async (query) => listAgents(calls, query),
    setPaused: async (tenant, id, paused, audit) => {
      // Both at once, so that nobody comes in between.
      const [, agent] = await Promise.all([run(pauseAgent(tenant, id, paused, audit)), run(getAgent(tenant, id))]);
      return agent;
    },
    removeAgent,
    renewLease: (input) => leases.renew(input),
    endLease: (replicaId, nowMs) => leases.end(replicaId, nowMs),
    takeDuty: (duty, replicaId, ttlMs) => leases.takeDuty(duty, replicaId, ttlMs),
    hear: (listener) => bell.hear(listener),
    followEntries: (on) => bell.followEntries(on),
    saveMark: (name, value) => run({ writes: true, build: () => ["ms", name, value], read: () => undefined }),
    mark: (name) => run({ writes: false, build: () => ["mg", name], read: (answer) => (answer === false ? undefined : String(answer)) }),
    importEvent: async (event) => run(importEvent(event)),
    importCounters: (source, counted) => run(importCounters(source, counted)),
    getDocument: (key) => run(getDocument(key)),
    writeDocument: async (write) => run(writeDocument(write)),
    listDocuments: (query) => listDocuments(calls, query),
    documentsAfter: (afterSeq, limit) => documentsAfter(calls, afterSeq, limit),
    lastDocumentSeq: () => run(lastDocumentSeq()),
    appendAudit: (entry) => run({ writes: true, build: (put) => ["u", auditRow(entry, put)], read: () => undefined }),
    listAudit: async (query) => listing.audit(query),
    auditAfter: (tenant, afterSeq, limit) => listing.auditAfter(tenant, afterSeq, limit),
    counters: () => run(counters()),
    openCounts: () => run(openCounts()),
    sweep: (input) => payloads.sweep(input),
    backup: () =>
      Promise.reject(
        new TransporterError("STORE_INVALID", "a store in Redis is backed up by Redis", {
          remedy: "Copy the server's append-only files or its snapshot (BGSAVE); docs/redis.md says how.",
        }),
      ),
    ping: () => run({ writes: true, build: () => ["q"], read: () => undefined }),
    inspect: async () => {
      try {
        return await inspectRedis(link);
      } catch (error) {
        throw link.fault(error);
      }
    },
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}
