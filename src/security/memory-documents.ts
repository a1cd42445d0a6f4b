import type { AuditLine, DocumentKey, Documents, StoredDocument } from "./documents.ts";

/** Documents in memory, for tests of this room. */
export interface MemoryDocuments extends Documents {
  readonly audit: AuditLine[];
  /** When set, every call rejects with it. */
  failure: Error | undefined;
  /** All of a kind, parsed. */
  of(kind: string): { readonly id: string; readonly value: unknown; readonly expiresAtMs: number | undefined }[];
  remove(kind: string, id: string): void;
  /** How many calls there were. */
  calls: number;
}

const keyOf = ({ tenant, kind, id }: DocumentKey): string => JSON.stringify([tenant, kind, id]);

export function memoryDocuments(): MemoryDocuments {
  const all = new Map<string, StoredDocument>();
  let seq = 0;
  const answer = <T>(value: () => T): Promise<T> => {
    documents.calls += 1;
    return documents.failure === undefined ? Promise.resolve(value()) : Promise.reject(documents.failure);
  };
  const documents: MemoryDocuments = {
    audit: [],
    failure: undefined,
    calls: 0,
    of: (kind) =>
      [...all.values()]
        .filter((one) => one.kind === kind)
        .map(({ id, value, expiresAtMs }) => ({ id, value: JSON.parse(value) as unknown, expiresAtMs })),
    remove: (kind, id) => void all.delete(keyOf({ tenant: "default", kind, id })),
    getDocument: (key) => answer(() => all.get(keyOf(key))),
    writeDocument: ({ expect, audit, ...write }) =>
      answer(() => {
        const current = all.get(keyOf(write));
        if ((current?.version ?? 0) !== expect) return { kind: "conflict", current };
        seq += 1;
        all.set(keyOf(write), { ...write, version: expect + 1, seq });
        if (audit !== undefined) documents.audit.push(audit);
        return { kind: "written", version: expect + 1, seq };
      }),
    listDocuments: ({ tenant, kind, after, limit }) =>
      answer(() =>
        [...all.values()]
          .filter((one) => one.tenant === tenant && one.kind === kind && (after === undefined || one.id > after))
          .toSorted((a, b) => (a.id < b.id ? -1 : 1))
          .slice(0, limit),
      ),
    documentsAfter: (afterSeq, limit) =>
      answer(() =>
        [...all.values()]
          .filter((one) => one.seq > afterSeq)
          .toSorted((a, b) => a.seq - b.seq)
          .slice(0, limit)
          .map(({ tenant, kind, id, seq }) => ({ tenant, kind, id, seq })),
      ),
    lastDocumentSeq: () => answer(() => seq),
    appendAudit: (entry) => answer(() => void documents.audit.push(entry)),
  };
  return documents;
}
