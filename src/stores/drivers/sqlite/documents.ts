import type { Statement } from "bun:sqlite";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import type { Document, DocumentChange, DocumentKey, DocumentOutcome, DocumentQuery, DocumentWrite } from "../../port.ts";
import type { Audit } from "./audit.ts";
import type { Tally } from "./tally.ts";

interface Row {
  readonly seq: number;
  readonly tenant: string;
  readonly kind: string;
  readonly id: string;
  readonly version: number;
  readonly expires_at_ms: number | null;
  readonly value: string;
}

const COLUMNS = "seq, tenant, kind, id, version, expires_at_ms, value";
const KEY = "tenant = ? AND kind = ? AND id = ?";

/** Small pieces of knowledge under names, with a version each. */
export class Documents {
  readonly #tally: Tally;
  readonly #audit: Audit;
  readonly #get: Statement<Row, [string, string, string]>;
  readonly #insert: Statement<unknown, [number, string, string, string, number | null, string]>;
  readonly #update: Statement<unknown, [number, number, number | null, string, string, string, string]>;
  readonly #list: Statement<Row, [string, string, string, number]>;
  readonly #after: Statement<DocumentChange, [number, number]>;
  readonly #dropExpired: Statement<unknown, [number, number]>;

  constructor(database: OpenedDatabase, parts: { readonly tally: Tally; readonly audit: Audit }) {
    this.#tally = parts.tally;
    this.#audit = parts.audit;
    this.#get = database.prepare(`SELECT ${COLUMNS} FROM document WHERE ${KEY}`);
    this.#insert = database.prepare(
      "INSERT INTO document (seq, tenant, kind, id, version, expires_at_ms, value) VALUES (?, ?, ?, ?, 1, ?, ?)",
    );
    this.#update = database.prepare(`UPDATE document SET seq = ?, version = ?, expires_at_ms = ?, value = ? WHERE ${KEY}`);
    this.#list = database.prepare(`SELECT ${COLUMNS} FROM document WHERE tenant = ? AND kind = ? AND id > ? ORDER BY id LIMIT ?`);
    this.#after = database.prepare("SELECT tenant, kind, id, seq FROM document WHERE seq > ? ORDER BY seq LIMIT ?");
    this.#dropExpired = database.prepare(
      "DELETE FROM document WHERE seq IN (SELECT seq FROM document INDEXED BY document_expiring WHERE expires_at_ms < ? LIMIT ?)",
    );
  }

  get({ tenant, kind, id }: DocumentKey): Document | undefined {
    const row = this.#get.get(tenant, kind, id);
    return row === null ? undefined : documentOf(row);
  }

  write(write: DocumentWrite): DocumentOutcome {
    const { tenant, kind, id, expect, value } = write;
    const current = this.get(write);
    if ((current?.version ?? 0) !== expect) return { kind: "conflict", current };
    const seq = this.#tally.next("document");
    const expiresAtMs = write.expiresAtMs ?? null;
    if (current === undefined) this.#insert.run(seq, tenant, kind, id, expiresAtMs, value);
    else this.#update.run(seq, expect + 1, expiresAtMs, value, tenant, kind, id);
    if (write.audit !== undefined) this.#audit.append(write.audit);
    return { kind: "written", version: expect + 1, seq };
  }

  list({ tenant, kind, after, limit }: DocumentQuery): readonly Document[] {
    return this.#list.all(tenant, kind, after ?? "", Math.max(0, limit)).map(documentOf);
  }

  after(afterSeq: number, limit: number): readonly DocumentChange[] {
    return this.#after.all(afterSeq, Math.max(0, limit));
  }

  /** Answers how many it removed. */
  expire(nowMs: number, limit: number): number {
    return this.#dropExpired.run(nowMs, limit).changes;
  }
}

function documentOf({ expires_at_ms, ...rest }: Row): Document {
  return { ...rest, expiresAtMs: expires_at_ms ?? undefined };
}
