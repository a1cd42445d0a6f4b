/**
 * What this room needs of the store: documents that all control planes share, and the audit. A store is one; the shapes are told again
 * here, because this room must not know stores.
 */
export interface DocumentKey {
  readonly tenant: string;
  readonly kind: string;
  readonly id: string;
}

export interface StoredDocument extends DocumentKey {
  /** 1 when it is made, one more with each write. */
  readonly version: number;
  readonly seq: number;
  readonly value: string;
  readonly expiresAtMs: number | undefined;
}

export interface AuditLine {
  readonly tenant: string;
  readonly atMs: number;
  readonly principal: string;
  readonly action: string;
  readonly eventId?: string;
  readonly agentId?: string;
  readonly remoteAddress?: string;
  readonly requestId?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export interface DocumentWrite extends DocumentKey {
  /** The version that it must have now; 0: it must not be there. */
  readonly expect: number;
  readonly value: string;
  readonly expiresAtMs: number | undefined;
  /** Written in the same step, and only with it. */
  readonly audit?: AuditLine;
}

export type DocumentOutcome =
  | { readonly kind: "written"; readonly version: number; readonly seq: number }
  | { readonly kind: "conflict"; readonly current: StoredDocument | undefined };

export interface DocumentChange extends DocumentKey {
  readonly seq: number;
}

export interface Documents {
  getDocument(key: DocumentKey): Promise<StoredDocument | undefined>;
  writeDocument(write: DocumentWrite): Promise<DocumentOutcome>;
  listDocuments(query: {
    readonly tenant: string;
    readonly kind: string;
    readonly after?: string;
    readonly limit: number;
  }): Promise<readonly StoredDocument[]>;
  documentsAfter(afterSeq: number, limit: number): Promise<readonly DocumentChange[]>;
  lastDocumentSeq(): Promise<number>;
  appendAudit(entry: AuditLine): Promise<void>;
}

/** The kinds of documents that this room keeps. */
export const DOCUMENT_KINDS = {
  installation: "installation",
  token: "token",
  tokenUse: "token-use",
  shortToken: "short-token",
  session: "session",
  loginNonce: "login-nonce",
  identity: "identity",
  enrolment: "enrolment",
} as const;
