import type { Documents } from "./documents.ts";

/** The same documents; what is written through them is told once it is durable, as the words of a store go to other control planes only. */
export function toldDocuments(documents: Documents, changed: (kind: string, id: string) => void): Documents {
  return {
    getDocument: (key) => documents.getDocument(key),
    listDocuments: (query) => documents.listDocuments(query),
    documentsAfter: (afterSeq, limit) => documents.documentsAfter(afterSeq, limit),
    lastDocumentSeq: () => documents.lastDocumentSeq(),
    appendAudit: (entry) => documents.appendAudit(entry),
    async writeDocument(write) {
      const outcome = await documents.writeDocument(write);
      if (outcome.kind === "written") changed(write.kind, write.id);
      return outcome;
    },
  };
}
