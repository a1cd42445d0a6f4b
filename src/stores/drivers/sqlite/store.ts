import type { Database } from "bun:sqlite";
import { type Clock, failpoint, type Logger, type Timers } from "../../../kit/mod.ts";
import {
  Checkpointer,
  copyDatabaseInSteps,
  copyMemory,
  GroupCommit,
  openDatabase,
  type OpenedDatabase,
  requireRoom,
} from "../../../sqlite/mod.ts";
import { textCursor } from "../../cursor.ts";
import { checkDocument } from "../../document-bounds.ts";
import type { EncodedPayload, Ended, NewAudit, Store, SweepInput, Swept } from "../../port.ts";
import { Agents } from "./agents.ts";
import { Audit } from "./audit.ts";
import { Deliveries } from "./deliveries.ts";
import { Documents } from "./documents.ts";
import { Endings } from "./endings.ts";
import { Events } from "./events.ts";
import { Handling } from "./handling.ts";
import { Imports } from "./imports.ts";
import { Leases } from "./leases.ts";
import { Listing } from "./listing.ts";
import { LogBook } from "./log-book.ts";
import { Marks } from "./marks.ts";
import { Owners } from "./owners.ts";
import { Payloads } from "./payloads.ts";
import { Reading } from "./reading.ts";
import { Retention } from "./retention.ts";
import { STORE_APPLICATION_ID, STORE_MIGRATIONS } from "./schema.ts";
import { Tally } from "./tally.ts";
import { Waiting } from "./waiting.ts";

/** Steps of a large payload (half a megabyte each) after which the write-ahead log is moved into the file. */
const STEPS_A_CHECKPOINT = 4;

export interface SqliteStoreOptions {
  /** A file, or ":memory:". */
  readonly path: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** Check the whole file at the start even if it is large and was closed cleanly. */
  readonly check?: boolean;
  /** For proofs: as in `OpenOptions` of the sqlite room. */
  readonly database?: Database;
}

/** How many rows one step of a bounded job takes: some milliseconds. */
const STEP_ROWS = 64;

/** Opens the embedded store. Everything that it is asked goes through one `GroupCommit`, in the order asked. */
export function openSqliteStore(options: SqliteStoreOptions): Store {
  const { path, clock, log } = options;
  const database = openDatabase({
    path,
    what: "store",
    applicationId: STORE_APPLICATION_ID,
    // Rows are written and removed here alone, and a check for each costs as much as an index.
    foreignKeys: false,
    migrations: STORE_MIGRATIONS,
    log,
    clock,
    check: options.check === true,
    ...(options.database === undefined ? {} : { database: options.database }),
  });
  return assemble(database, options);
}

function assemble(database: OpenedDatabase, options: SqliteStoreOptions): Store {
  const { clock, timers } = options;
  const memory = database.path === ":memory:";
  const checkpointer = memory || options.database !== undefined ? undefined : new Checkpointer({ database, timers, log: options.log });
  const tally = new Tally(database);
  const log = new LogBook(database);
  const deliveries = new Deliveries(database, { tally, log });
  const audit = new Audit(database, tally);
  const payloads = new Payloads(database, tally);
  const owners = new Owners(database);
  const leases = new Leases(clock);
  const agents = new Agents(database, { owners, leases });
  const events = new Events(database, { tally, deliveries, audit, payloads, owners });
  const handling = new Handling({ deliveries, audit, agents, owners });
  const endings = new Endings(database, { deliveries, agents });
  const imports = new Imports(database, { tally, log });
  const marks = new Marks(database);
  const documents = new Documents(database, { tally, audit });
  const reading = new Reading(database, { events, deliveries });
  const waiting = new Waiting(database, { events, deliveries, tally });
  const retention = new Retention(database, { deliveries, audit });
  const group = new GroupCommit({
    db: database.db,
    clock,
    timers,
    what: "store",
    prepare: (sql) => database.prepare<unknown, []>(sql),
    hooks: {
      begin: () => {
        tally.begin();
        leases.begin();
      },
      beforeCommit: () => {
        deliveries.save();
        audit.flush();
        tally.write();
      },
      committing: () => failpoint("cp.store.before-commit"),
      committed: () => {
        failpoint("cp.store.after-commit");
        checkpointer?.committed();
      },
      undo: () => {
        deliveries.undo();
        audit.undo();
        tally.undo();
        owners.undo();
        leases.undo();
      },
    },
  });
  const listing = new Listing(database, { group, clock, timers, tally, deliveries, audit, imports });

  const removeAgent = async (tenant: string, id: string, nowMs: number, entry: NewAudit): Promise<Ended[] | undefined> => {
    const ended: Ended[] = [];
    for (;;) {
      // The agent goes in the same transaction as its last delivery: a crash in between leaves an agent that can be removed again.
      const step = await group.run(() => {
        if (agents.get(tenant, id) === undefined) return undefined;
        const some = endings.abandon(tenant, id, nowMs, STEP_ROWS);
        const last = some.length < STEP_ROWS;
        if (last) {
          agents.remove(tenant, id);
          audit.append(entry);
        }
        return { some, last };
      });
      if (step === undefined) return ended.length === 0 ? undefined : ended;
      ended.push(...step.some);
      if (step.last) return ended;
    }
  };

  const expireDue = async (nowMs: number, limit: number): Promise<Ended[]> => {
    const ended: Ended[] = [];
    while (ended.length < limit) {
      const most = Math.min(STEP_ROWS, limit - ended.length);
      const step = await group.run(() => endings.expire(nowMs, most));
      ended.push(...step.ended);
      if (step.seen < most) break;
    }
    return ended;
  };

  const sweep = async (input: SweepInput): Promise<Swept> => {
    const removed = { events: 0, audit: 0, documents: 0 };
    while (removed.events < input.limit) {
      const most = Math.min(STEP_ROWS, input.limit - removed.events);
      const some = await group.run(() => retention.events(input.finishedBeforeMs, most));
      removed.events += some;
      if (some === 0) break;
    }
    for (let steps = 0; steps < input.limit; steps += 1) if (!(await group.run(() => payloads.sweep(clock.now())))) break;
    while (removed.audit < input.limit) {
      const most = Math.min(STEP_ROWS * 8, input.limit - removed.audit);
      const some = await group.run(() => retention.audit(input.auditBeforeMs, most));
      removed.audit += some;
      if (some < most) break;
    }
    const { nowMs } = input;
    if (nowMs === undefined) return removed;
    while (removed.documents < input.limit) {
      const most = Math.min(STEP_ROWS * 8, input.limit - removed.documents);
      const some = await group.run(() => documents.expire(nowMs, most));
      removed.documents += some;
      if (some < most) break;
    }
    return removed;
  };

  // Bit by bit on the way: left to SQLite, one commit in the middle would move 16 MiB, and everybody would wait for that.
  const checkpoint = (): void => {
    if (checkpointer?.active === true) return;
    try {
      database.db.run("PRAGMA wal_checkpoint(PASSIVE)");
    } catch {
      // The next commit meets the same and says it to whom it concerns.
    }
  };
  // One at a time for each digest: the second finds it there.
  const saving = new Map<string, Promise<void>>();
  const savePieces = async (payload: EncodedPayload): Promise<void> => {
    const hash = payload.encodedHash ?? Bun.hash(payload.encoded).toString(16);
    for (let whole = false, steps = 1; !whole; steps += 1) {
      whole = await group.run(() => payloads.save(payload, hash, clock.now()));
      if (steps % STEPS_A_CHECKPOINT === 0) checkpoint();
      failpoint("cp.intake.payload-piece");
    }
  };
  const savePayload = (payload: EncodedPayload): Promise<void> => {
    const running = saving.get(payload.digest);
    if (running !== undefined) return running;
    const saved = savePieces(payload).finally(() => saving.delete(payload.digest));
    saving.set(payload.digest, saved);
    return saved;
  };

  let closing: Promise<void> | undefined;
  return {
    info: { driver: memory ? "memory" : "sqlite", location: database.path, schemaVersion: database.version, shared: false },
    savePayload,
    payloadPiece: (digest, offset) => group.run(() => payloads.piece(digest, offset)),
    createEvent: (input) => group.run(() => events.create(input)),
    getEvent: (tenant, id, options) => group.run(() => reading.event(tenant, id, options)),
    contentDigest: (tenant, id) => group.run(() => events.contentDigest(tenant, id)),
    listEvents: (query) => listing.events(query),
    openDeliveries: (query) => group.run(() => waiting.open(query)),
    waitingBefore: (query) => group.run(() => waiting.before(query)),
    nextStartMs: (tenant, agentId, nowMs) => group.run(() => waiting.nextStartMs(tenant, agentId, nowMs)),
    positions: (tenant, agentId, keys) => group.run(() => keys.map((key) => handling.position(tenant, agentId, key))),
    handedOver: (tenant, agentId) => group.run(() => waiting.handedOver(tenant, agentId)),
    moveDelivery: (move) => group.run(() => handling.move(move)),
    applyStatus: (status) => group.run(() => handling.apply(status)),
    cancelEvent: (input) => group.run(() => handling.cancel(input)),
    retryEvent: (input) => group.run(() => events.retry(input)),
    expireDue,
    nextDueMs: () => group.run(() => endings.nextDueMs()),
    logAfter: (query) => group.run(() => reading.log(query)),
    lastSeq: () => group.run(() => tally.lastSeq),
    claimAgent: (claim, entry) =>
      group.run(() => {
        const claimed = agents.claim(claim);
        audit.append(entry);
        return claimed;
      }),
    releaseAgent: (release, entry) =>
      group.run(() => {
        const released = agents.release(release);
        if (released) audit.append(entry);
        return released;
      }),
    importAgent: (agent) => group.run(() => agents.import(agent)),
    touchAgents: (seen) => group.run(() => agents.touch(seen)),
    getAgent: (tenant, id) => group.run(() => agents.get(tenant, id)),
    listAgents: async (query) => {
      // Read before the transaction: a cursor that is refused in it would undo what everybody else asked for, to be done again one by one.
      const after = textCursor("agents", query.cursor) ?? "";
      return group.run(() => agents.list(query, after));
    },
    setPaused: (tenant, id, paused, entry) =>
      group.run(() => {
        const agent = agents.setPaused(tenant, id, paused);
        if (agent !== undefined) audit.append(entry);
        return agent;
      }),
    removeAgent,
    renewLease: ({ replica, ttlMs, nowMs }) =>
      group.run(() => {
        const lapsed = leases.renew(replica, ttlMs);
        const orphaned = agents.orphan(nowMs);
        return { replicas: leases.replicas(), lapsed, orphaned };
      }),
    endLease: (replicaId, nowMs) =>
      group.run(() => {
        leases.end(replicaId);
        agents.disconnect(replicaId, nowMs);
      }),
    takeDuty: (duty, replicaId, ttlMs) => group.run(() => leases.takeDuty(duty, replicaId, ttlMs)),
    // Nobody else uses this store.
    hear: () => () => undefined,
    followEntries: () => undefined,
    saveMark: (name, value) => group.run(() => marks.save(name, value)),
    mark: (name) => group.run(() => marks.get(name)),
    importEvent: (event) => group.run(() => imports.event(event)),
    importCounters: (source, counters) => group.run(() => imports.counters(source, counters)),
    getDocument: (key) => group.run(() => documents.get(key)),
    writeDocument: async (write) => {
      // Before the transaction: what is refused in it would undo what everybody else asked for, to be done again one by one.
      checkDocument(write);
      return group.run(() => documents.write(write));
    },
    listDocuments: (query) => group.run(() => documents.list(query)),
    documentsAfter: (afterSeq, limit) => group.run(() => documents.after(afterSeq, limit)),
    lastDocumentSeq: () => group.run(() => tally.lastDocument),
    appendAudit: (entry) => group.run(() => audit.append(entry)),
    listAudit: (query) => listing.audit(query),
    auditAfter: (tenant, afterSeq, limit) => group.run(() => listing.auditAfter(tenant, afterSeq, limit)),
    counters: () => group.run(() => tally.counters()),
    openCounts: () => group.run(() => tally.openCounts()),
    sweep,
    backup: async (to) => {
      // Whatever was asked before the backup is in it.
      await group.run(() => undefined);
      if (memory) return copyMemory(database.db, { to, what: "store" });
      return copyDatabaseInSteps({ from: database.path, to, what: "store", clock, timers });
    },
    ping: async () => {
      await group.run(() => tally.touch());
      if (!memory) requireRoom(database.path, "store");
    },
    inspect: () => Promise.resolve([]),
    close: () => {
      closing ??= group
        .close()
        .then(() => checkpointer?.stop())
        .then(() => database.close());
      return closing;
    },
  };
}
