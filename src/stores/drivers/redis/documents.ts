import { checkDocument } from "../../document-bounds.ts";
import type { Document, DocumentChange, DocumentKey, DocumentOutcome, DocumentQuery, DocumentWrite } from "../../port.ts";
import { wordsOf } from "../../words.ts";
import type { Answer, Calls, Operation, Take } from "./calls.ts";
import { splitKey, tenantKey } from "./codes.ts";
import { auditRow } from "./events.ts";
import { listOf } from "./rows.ts";

/** Of 64 KiB each at most, which is some milliseconds of the server. */
const DOCUMENTS_AT_ONCE = 64;
const CHANGES_AT_ONCE = 512;

/** What the keys of a tenant's documents of one kind begin with. */
function kindKey(tenant: string, kind: string): string {
  return tenantKey(tenant) + tenantKey(kind);
}

function keyOf({ tenant, kind, id }: DocumentKey): string {
  return kindKey(tenant, kind) + id;
}

function splitDocumentKey(key: string): DocumentKey {
  const { tenant, id: rest } = splitKey(key);
  const { tenant: kind, id } = splitKey(rest);
  return { tenant, kind, id };
}

function documentOf(answer: Answer, textOf: (text: unknown) => string): Document | undefined {
  if (!Array.isArray(answer)) return undefined;
  const [key, version, seq, expires, text] = answer as [string, number, number, string, unknown];
  return { ...splitDocumentKey(key), version, seq, expiresAtMs: expires === "" ? undefined : Number(expires), value: textOf(text) };
}

export function getDocument(key: DocumentKey): Operation<Document | undefined> {
  return { writes: false, build: () => ["dg", keyOf(key)], read: documentOf };
}

/** INVALID_REQUEST, thrown at once, for what is too large. */
export function writeDocument(write: DocumentWrite): Operation<DocumentOutcome> {
  checkDocument(write);
  const { expect, value, expiresAtMs, audit } = write;
  return {
    writes: true,
    weight: 2,
    build: (put) => [
      "dw",
      keyOf(write),
      expect,
      put(value),
      expiresAtMs === undefined ? "" : String(expiresAtMs),
      audit === undefined ? 0 : auditRow(audit, put),
    ],
    read(answer) {
      const [kind, detail, seq] = answer as [number, unknown, number];
      if (kind === 1) return { kind: "written", version: Number(detail), seq };
      return { kind: "conflict", current: documentOf(detail, String) };
    },
    words: (outcome) => wordsOf.writeDocument(write, outcome),
  };
}

/** In steps, so no snapshot: each document is as it was when it was come to. */
export async function listDocuments(calls: Calls, query: DocumentQuery): Promise<readonly Document[]> {
  const found: Document[] = [];
  let { after = "" } = query;
  for (let more = query.limit > 0; more && found.length < query.limit;) {
    const most = Math.min(DOCUMENTS_AT_ONCE, query.limit - found.length);
    const some = await calls.run(someDocuments(kindKey(query.tenant, query.kind), after, most));
    found.push(...some);
    after = some.at(-1)?.id ?? after;
    more = some.length === most;
  }
  return found;
}

function someDocuments(prefix: string, after: string, most: number): Operation<readonly Document[]> {
  return {
    writes: false,
    weight: most / 2,
    build: () => ["dl", prefix, after, most],
    read: (answer: Answer, take: Take) => listOf(answer).flatMap((one) => documentOf(one, take) ?? []),
  };
}

export async function documentsAfter(calls: Calls, afterSeq: number, limit: number): Promise<readonly DocumentChange[]> {
  const found: DocumentChange[] = [];
  let after = afterSeq;
  for (let more = limit > 0; more && found.length < limit;) {
    const most = Math.min(CHANGES_AT_ONCE, limit - found.length);
    const some = await calls.run(someChanges(after, most));
    found.push(...some);
    after = some.at(-1)?.seq ?? after;
    more = some.length === most;
  }
  return found;
}

function someChanges(after: number, most: number): Operation<readonly DocumentChange[]> {
  return {
    writes: false,
    weight: 1 + most / 32,
    build: () => ["da", after, most],
    read(answer) {
      const flat = listOf(answer);
      return Array.from({ length: flat.length / 2 }, (_, at) => ({
        ...splitDocumentKey(String(flat[at * 2])),
        seq: Number(flat[at * 2 + 1]),
      }));
    },
  };
}

export function lastDocumentSeq(): Operation<number> {
  return { writes: false, build: () => ["n"], read: (answer) => (answer as Record<string, number>)["document"] ?? 0 };
}
