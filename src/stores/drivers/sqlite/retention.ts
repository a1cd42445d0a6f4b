import type { Statement } from "bun:sqlite";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import type { Audit } from "./audit.ts";
import type { Deliveries } from "./deliveries.ts";
import { ALL_ORDS } from "./delivery.ts";

/** Audit entries come in the order of time, or nearly so: a clock may have been set back. Only so many of the oldest are looked at. */
const AUDIT_LOOKED_AT = 4096;

/** Removes what is finished and old: the event with its deliveries, their log, and the payload where no other event uses it. */
export class Retention {
  readonly #deliveries: Deliveries;
  readonly #audit: Audit;
  readonly #old: Statement<{ readonly event_no: number; readonly payload_no: number | null }, [number, number, number]>;
  readonly #dropLog: Statement<unknown, [number]>;
  readonly #dropDeliveries: Statement<unknown, [number]>;
  readonly #dropEvent: Statement<unknown, [number]>;
  readonly #dropPayload: Statement<unknown, [number, number]>;
  readonly #dropAudit: Statement<unknown, [number, number]>;

  constructor(database: OpenedDatabase, parts: { readonly deliveries: Deliveries; readonly audit: Audit }) {
    this.#deliveries = parts.deliveries;
    this.#audit = parts.audit;
    // An event goes when all its deliveries are finished and old, so a revision that is still open keeps the earlier ones.
    this.#old = database.prepare(
      `SELECT d.event_no, e.payload_no FROM delivery d INDEXED BY delivery_finished CROSS JOIN event e ON e.no = d.event_no
       WHERE d.finished_at_ms IS NOT NULL AND d.finished_at_ms < ?
         AND NOT EXISTS (SELECT 1 FROM delivery o WHERE o.ord IN ${ALL_ORDS} AND o.event_no = e.no
           AND (o.finished_at_ms IS NULL OR o.finished_at_ms >= ?))
       ORDER BY d.finished_at_ms LIMIT ?`,
    );
    this.#dropLog = database.prepare(
      `WITH RECURSIVE chain (seq) AS (
         SELECT d.last_seq FROM event e CROSS JOIN delivery d ON d.ord IN ${ALL_ORDS} AND d.event_no = e.no WHERE e.no = ?
         UNION ALL SELECT l.prev FROM chain c CROSS JOIN entry l ON l.seq = c.seq WHERE l.prev IS NOT NULL)
       DELETE FROM entry WHERE seq IN (SELECT seq FROM chain)`,
    );
    this.#dropDeliveries = database.prepare(
      `DELETE FROM delivery WHERE ord IN (SELECT d.ord FROM event e CROSS JOIN delivery d ON d.ord IN ${ALL_ORDS} AND d.event_no = e.no WHERE e.no = ?)`,
    );
    this.#dropEvent = database.prepare("DELETE FROM event WHERE no = ?");
    this.#dropPayload = database.prepare(
      "DELETE FROM payload WHERE no = ? AND NOT EXISTS (SELECT 1 FROM event INDEXED BY event_by_payload WHERE payload_no = ?)",
    );
    this.#dropAudit = database.prepare(
      `DELETE FROM audit WHERE seq IN
       (SELECT seq FROM (SELECT seq, at_ms FROM audit ORDER BY seq LIMIT ${AUDIT_LOOKED_AT}) WHERE at_ms < ? LIMIT ?)`,
    );
  }

  /** Answers how many events it removed. */
  events(finishedBeforeMs: number, limit: number): number {
    this.#deliveries.save();
    let removed = 0;
    for (const { event_no, payload_no } of this.#old.all(finishedBeforeMs, finishedBeforeMs, limit)) {
      this.#dropLog.run(event_no);
      this.#dropDeliveries.run(event_no);
      // 0 where an earlier row was another revision of the same event.
      removed += this.#dropEvent.run(event_no).changes;
      if (payload_no !== null) this.#dropPayload.run(payload_no, payload_no);
    }
    return removed;
  }

  audit(beforeMs: number, limit: number): number {
    this.#audit.flush();
    return this.#dropAudit.run(beforeMs, limit).changes;
  }
}
