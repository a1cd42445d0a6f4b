import type { Migration } from "../../../sqlite/mod.ts";

/** "TPST": marks a file as a store of Transporter. */
export const STORE_APPLICATION_ID = 0x54505354;

/**
 * Written into rows, so that a later version can tell how to read what an older one left. The file's own version is `user_version`.
 *
 * Why it looks as it does (`tests/bench/store.ts` has the figures):
 * - An index entry at a random place costs a page of the WAL for each event, so there are few. What is open lies in small partial
 *   indexes. The ids of a delivery's log are chained (`delivery.last_seq`, `execution_log.prev`) instead of indexed.
 * - Numbers (`no`, `ord`, `seq`) are given out by the one process that owns the file and kept in `counter` by the same transaction, so
 *   none is ever given twice, and none has to be read back.
 * - Payloads up to a quarter of a page lie in the event's row, last, where a listing does not read them; larger ones lie apart, once per digest.
 */
const FIRST = `
CREATE TABLE payload (
  no INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  bytes INTEGER NOT NULL,
  text TEXT NOT NULL
);

CREATE TABLE event (
  no INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  principal TEXT NOT NULL,
  schema_version INTEGER NOT NULL DEFAULT 1,
  type TEXT NOT NULL,
  target_agent TEXT NOT NULL,
  created_at TEXT,
  created_at_ms INTEGER,
  created_by TEXT NOT NULL,
  ttl_ns INTEGER NOT NULL,
  deadline_ms REAL,
  priority INTEGER NOT NULL,
  traceparent TEXT,
  received_at_ms INTEGER NOT NULL,
  content_digest TEXT NOT NULL,
  payload_digest TEXT NOT NULL,
  payload_bytes INTEGER NOT NULL,
  payload_no INTEGER REFERENCES payload (no),
  labels TEXT,
  extra TEXT,
  payload TEXT
);
CREATE UNIQUE INDEX event_by_id ON event (tenant, id);
CREATE INDEX event_by_payload ON event (payload_no) WHERE payload_no IS NOT NULL;

CREATE TABLE delivery (
  ord INTEGER PRIMARY KEY,
  event_no INTEGER NOT NULL REFERENCES event (no),
  tenant TEXT NOT NULL,
  agent_id TEXT NOT NULL,
  principal TEXT NOT NULL,
  schema_version INTEGER NOT NULL DEFAULT 1,
  revision INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  due_at_ms INTEGER NOT NULL,
  state TEXT NOT NULL,
  phase TEXT NOT NULL,
  entered INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  last_seq INTEGER NOT NULL,
  result_seq INTEGER,
  updated_at_ms INTEGER NOT NULL,
  started_at_ms INTEGER,
  finished_at_ms INTEGER,
  seq INTEGER,
  boot_id TEXT,
  message TEXT NOT NULL
);
CREATE INDEX delivery_by_event ON delivery (event_no);
CREATE INDEX delivery_open ON delivery (tenant, agent_id, priority DESC, ord) WHERE finished_at_ms IS NULL;
CREATE INDEX delivery_due ON delivery (due_at_ms) WHERE finished_at_ms IS NULL;
CREATE INDEX delivery_finished ON delivery (finished_at_ms) WHERE finished_at_ms IS NOT NULL;
CREATE INDEX delivery_unsuccessful ON delivery (ord) WHERE finished_at_ms IS NOT NULL AND state <> 'completed';

CREATE TABLE execution_log (
  seq INTEGER PRIMARY KEY,
  delivery INTEGER NOT NULL,
  prev INTEGER,
  timestamp TEXT NOT NULL,
  state TEXT NOT NULL,
  phase TEXT NOT NULL,
  level TEXT NOT NULL,
  message TEXT NOT NULL,
  details TEXT,
  result TEXT
);

CREATE TABLE agent (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  principal TEXT NOT NULL,
  schema_version INTEGER NOT NULL DEFAULT 1,
  cluster_name TEXT NOT NULL,
  status TEXT NOT NULL,
  paused INTEGER NOT NULL DEFAULT 0,
  remote_address TEXT NOT NULL,
  connected_at_ms INTEGER,
  disconnected_at_ms INTEGER,
  last_seen_ms INTEGER NOT NULL,
  clock_offset_ms REAL,
  registration TEXT NOT NULL,
  PRIMARY KEY (tenant, id)
);

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  principal TEXT NOT NULL,
  schema_version INTEGER NOT NULL DEFAULT 1,
  at_ms INTEGER NOT NULL,
  action TEXT NOT NULL,
  event_id TEXT,
  agent_id TEXT,
  user TEXT,
  remote_address TEXT,
  request_id TEXT,
  details TEXT
);
CREATE INDEX audit_by_time ON audit (at_ms);

CREATE TABLE counter (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  total INTEGER NOT NULL DEFAULT 0,
  created INTEGER NOT NULL DEFAULT 0,
  queued INTEGER NOT NULL DEFAULT 0,
  assigned INTEGER NOT NULL DEFAULT 0,
  in_progress INTEGER NOT NULL DEFAULT 0,
  completed INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  expired INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  last_event INTEGER NOT NULL DEFAULT 0,
  last_ord INTEGER NOT NULL DEFAULT 0,
  last_seq INTEGER NOT NULL DEFAULT 0,
  last_audit INTEGER NOT NULL DEFAULT 0,
  last_payload INTEGER NOT NULL DEFAULT 0
);
INSERT INTO counter (id) VALUES (1);
`;

/**
 * - `delivery.lane` is where an open delivery stands (`LANE` in delivery.ts); none when it has ended. What waits and what was handed over lie
 *   apart in `delivery_open`, so that neither is looked for behind thousands of the other.
 * - What must not start yet (`not_before_ms`) has a lane of its own, and joins those that wait when its time has come.
 * - An event that is tried again gets one more delivery; those before it are `superseded`.
 * - An event's first delivery has the event's own number, so no index leads to it. Those that have another one (further revisions, and what
 *   schema 1 wrote) are in `delivery_again`.
 * - `delivery.earlier` has the last number of each agent process that spoke before the one in `boot_id`, as JSON; few ever have one.
 * - Large payloads come encoded and lie in pieces: piece `at` of payload `no` has the id `no * 4096 + at`. One that is not `complete` is not there.
 * - `entry` is the log in few bytes (`log-book.ts`), and the audit needs no index on time: both come in the order of their numbers.
 */
const SECOND = `
ALTER TABLE event ADD COLUMN options TEXT;
ALTER TABLE event ADD COLUMN apart_no INTEGER;
ALTER TABLE delivery ADD COLUMN lane INTEGER;
ALTER TABLE delivery ADD COLUMN not_before_ms INTEGER;
ALTER TABLE delivery ADD COLUMN cancel_at_ms INTEGER;
ALTER TABLE delivery ADD COLUMN superseded INTEGER;
ALTER TABLE delivery ADD COLUMN earlier TEXT;
UPDATE delivery SET lane = CASE WHEN state IN ('created', 'queued') THEN 1 ELSE 0 END WHERE finished_at_ms IS NULL;
UPDATE counter SET last_ord = max(last_ord, last_event);
DROP INDEX delivery_open;
DROP INDEX delivery_due;
DROP INDEX delivery_unsuccessful;
DROP INDEX delivery_by_event;
DROP INDEX audit_by_time;
CREATE INDEX delivery_open ON delivery (tenant, agent_id, lane, priority DESC, ord) WHERE lane IS NOT NULL;
CREATE INDEX delivery_due ON delivery (due_at_ms) WHERE lane IS NOT NULL;
CREATE INDEX delivery_delayed ON delivery (tenant, agent_id, not_before_ms) WHERE lane = 2;
CREATE INDEX delivery_unsuccessful ON delivery (event_no) WHERE finished_at_ms IS NOT NULL AND state <> 'completed';
CREATE INDEX delivery_again ON delivery (event_no) WHERE event_no <> ord;

CREATE TABLE entry (
  seq INTEGER PRIMARY KEY,
  delivery INTEGER NOT NULL,
  prev INTEGER,
  at NOT NULL,
  kind INTEGER NOT NULL,
  message TEXT NOT NULL,
  details TEXT,
  result TEXT
);
INSERT INTO entry SELECT seq, delivery, prev, timestamp,
  64 * CASE state WHEN 'created' THEN 0 WHEN 'queued' THEN 1 WHEN 'assigned' THEN 2 WHEN 'in_progress' THEN 3 WHEN 'completed' THEN 4
    WHEN 'failed' THEN 5 WHEN 'expired' THEN 6 ELSE 7 END
  + 8 * CASE phase WHEN '' THEN 0 WHEN 'received' THEN 1 WHEN 'validating' THEN 2 WHEN 'applying' THEN 3 WHEN 'verifying' THEN 4
    WHEN 'completed' THEN 5 ELSE 6 END
  + CASE level WHEN 'debug' THEN 0 WHEN 'info' THEN 1 WHEN 'warning' THEN 2 ELSE 3 END,
  message, details, result FROM execution_log ORDER BY seq;
DROP TABLE execution_log;

CREATE TABLE apart (
  no INTEGER PRIMARY KEY,
  digest TEXT NOT NULL UNIQUE,
  bytes INTEGER NOT NULL,
  encoded_bytes INTEGER NOT NULL,
  encoded_hash TEXT NOT NULL,
  pieces INTEGER NOT NULL,
  complete INTEGER NOT NULL,
  saved_at_ms INTEGER NOT NULL
);
CREATE TABLE apart_piece (
  id INTEGER PRIMARY KEY,
  data BLOB NOT NULL
);
CREATE INDEX event_by_apart ON event (apart_no) WHERE apart_no IS NOT NULL;
`;

/**
 * - `agent.epoch` grows with each connection of an agent, and `agent.replica_id` is the control plane that the last one came to.
 * - `imported` has what came from elsewhere at most once; `up_to` is the highest number of an event that did.
 */
const THIRD = `
ALTER TABLE agent ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN replica_id TEXT;
CREATE TABLE mark (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE imported (
  source TEXT PRIMARY KEY,
  up_to INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
`;

/**
 * A document's number is that of its last write, so that what changed since is read in order, and no further index is needed for it. Values
 * come last: whoever asks only what changed does not read them.
 */
const FOURTH = `
CREATE TABLE document (
  seq INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  schema_version INTEGER NOT NULL DEFAULT 1,
  version INTEGER NOT NULL,
  expires_at_ms INTEGER,
  value TEXT NOT NULL
);
CREATE UNIQUE INDEX document_by_id ON document (tenant, kind, id);
CREATE INDEX document_expiring ON document (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
ALTER TABLE counter ADD COLUMN last_document INTEGER NOT NULL DEFAULT 0;
`;

export const STORE_MIGRATIONS: readonly Migration[] = [
  { version: 1, name: "first schema", sql: FIRST },
  { version: 2, name: "delayed starts, revisions, payloads in pieces, a shorter log", sql: SECOND },
  { version: 3, name: "owners of agents, marks, what was imported", sql: THIRD },
  { version: 4, name: "documents that control planes share", sql: FOURTH },
];
