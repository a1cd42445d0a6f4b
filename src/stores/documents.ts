import type { NewAudit } from "./records.ts";

/** What a document is found by. `kind` is for the room that keeps it, such as `token`; `id` any text of 1 to 300 characters. INVALID_REQUEST beyond that. */
export interface DocumentKey {
  readonly tenant: string;
  readonly kind: string;
  readonly id: string;
}

/** A small piece of knowledge that all control planes share and that changes rarely: a token, an agent's identity. At most 64 KiB (INVALID_REQUEST). */
export interface Document extends DocumentKey {
  /** 1 when it is made, one more with each write. */
  readonly version: number;
  /** Grows with every write of any document; tells what changed since. */
  readonly seq: number;
  readonly value: string;
  /** `sweep` removes it after that; until then it is answered as ever. Undefined: it stays. */
  readonly expiresAtMs: number | undefined;
}

export interface DocumentWrite extends DocumentKey {
  /** The version that it must have now; 0: it must not be there. */
  readonly expect: number;
  readonly value: string;
  readonly expiresAtMs: number | undefined;
  /** Written in the same step, and only with it. */
  readonly audit?: NewAudit;
}

export type DocumentOutcome =
  | { readonly kind: "written"; readonly version: number; readonly seq: number }
  /** It is otherwise by now: what is there, or undefined for nothing. */
  | { readonly kind: "conflict"; readonly current: Document | undefined };

export interface DocumentQuery {
  readonly tenant: string;
  readonly kind: string;
  /** Those whose id comes after this one, by code point; all when absent. */
  readonly after?: string;
  readonly limit: number;
}

/** A document that was written, and when last among all. */
export interface DocumentChange extends DocumentKey {
  readonly seq: number;
}
