import type { Database } from "bun:sqlite";

/** Of a payload that nobody refers to any more, so much is removed in one transaction. */
const SWEEP_PIECES = 16;

/**
 * Removes some of one payload that no open delivery refers to; false when there is none. From the end to the beginning, so that what is
 * left has no gap should it be wanted again in between.
 */
export function sweepSome(db: Database): boolean {
  const unused = db
    .query<{ digest: string }, []>(
      `SELECT digest FROM (SELECT DISTINCT digest FROM pieces) AS kept
       WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE payload_digest = kept.digest AND state <> 'finished') LIMIT 1`,
    )
    .get();
  if (unused === null) return false;
  db.query("DELETE FROM payloads WHERE digest = ?").run(unused.digest);
  db.query("DELETE FROM pieces WHERE id IN (SELECT id FROM pieces WHERE digest = ? ORDER BY offset DESC LIMIT ?)").run(
    unused.digest,
    SWEEP_PIECES,
  );
  return true;
}
