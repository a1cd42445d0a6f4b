import type { PayloadRef, Phase } from "../protocol/mod.ts";
import type { Migration } from "../sqlite/mod.ts";
import { workFromLedger } from "./delivery.ts";
import type { OpenDelivery } from "./ledger.ts";

/** "TPal": Transporter, agent's ledger. */
export const LEDGER_APPLICATION_ID = 0x5450616c;

export const LEDGER_MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    name: "deliveries and statuses",
    // Manifests lie apart: they are megabytes, and a change of state must not write them again.
    sql: `
      CREATE TABLE deliveries (
        ord INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        work TEXT NOT NULL,
        received_at_ms INTEGER NOT NULL,
        expires_at_ms INTEGER,
        state TEXT NOT NULL CHECK (state IN ('open', 'started', 'interrupted', 'finished')),
        crashes INTEGER NOT NULL DEFAULT 0,
        finished_at_ms INTEGER,
        final TEXT
      ) STRICT;
      CREATE INDEX deliveries_open ON deliveries (ord) WHERE state <> 'finished';
      CREATE TABLE manifests (
        key TEXT PRIMARY KEY REFERENCES deliveries (key) ON DELETE CASCADE,
        body TEXT NOT NULL
      ) STRICT;
      CREATE TABLE statuses (
        ord INTEGER PRIMARY KEY AUTOINCREMENT,
        boot_id TEXT NOT NULL,
        seq INTEGER NOT NULL,
        body TEXT NOT NULL,
        UNIQUE (boot_id, seq)
      ) STRICT;
    `,
  },
  {
    version: 2,
    name: "payloads in pieces",
    // A payload is kept as it came, encoded, once for all deliveries that refer to it; what it says beside its manifests (`traits`) is
    // there once it was found whole and right. The probe is what a full disk is felt with.
    sql: `
      ALTER TABLE deliveries ADD COLUMN payload TEXT;
      ALTER TABLE deliveries ADD COLUMN payload_digest TEXT;
      CREATE INDEX deliveries_payload ON deliveries (payload_digest) WHERE payload_digest IS NOT NULL AND state <> 'finished';
      CREATE TABLE payloads (
        digest TEXT PRIMARY KEY,
        traits TEXT NOT NULL
      ) STRICT;
      CREATE TABLE pieces (
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL,
        offset INTEGER NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (digest, offset)
      ) STRICT;
      CREATE TABLE probe (
        id INTEGER PRIMARY KEY,
        body BLOB NOT NULL
      ) STRICT;
    `,
  },
  {
    version: 3,
    name: "how far an execution was",
    // For a quarantine and its reason.
    sql: `
      ALTER TABLE deliveries ADD COLUMN phase TEXT;
      ALTER TABLE deliveries ADD COLUMN reading INTEGER NOT NULL DEFAULT 0;
    `,
  },
  {
    version: 4,
    name: "the highest epoch seen",
    // Whoever was taken for this agent's owner last: a control plane that tells no higher one must not command it any more.
    sql: `
      CREATE TABLE seen (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch INTEGER NOT NULL
      ) STRICT;
    `,
  },
  {
    version: 5,
    name: "what an event has to remember",
    // Texts by name, compressed: what its objects were before it, and why it is being rolled back.
    sql: `
      CREATE TABLE kept (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL,
        name TEXT NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (key, name)
      ) STRICT;
    `,
  },
];

/** A row of what is open. */
export interface DeliveryRow {
  readonly key: string;
  readonly work: string;
  readonly expires_at_ms: number | null;
  readonly state: string;
  readonly crashes: number;
  readonly payload: string | null;
  readonly whole: number;
  readonly phase: string | null;
  readonly reading: number;
}

/** As it stood when the earlier process ended. */
export function openDeliveryOf(row: DeliveryRow): OpenDelivery {
  return {
    key: row.key,
    work: workFromLedger(row.work),
    expiresAtMs: row.expires_at_ms ?? undefined,
    started: row.state !== "open",
    crashes: row.crashes + (row.state === "started" || row.reading === 1 ? 1 : 0),
    diedIn: row.reading === 1 ? "reading" : ((row.phase ?? undefined) as Phase | undefined),
    fetching: row.payload !== null && row.whole === 0,
    ...(row.payload === null ? {} : { payload: JSON.parse(row.payload) as PayloadRef }),
  };
}
