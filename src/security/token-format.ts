import { crc32 } from "node:zlib";
import { createHash, randomInt, timingSafeEqual } from "node:crypto";

/**
 * `user`: for people and programs. `enrolment`: lets one agent in. `short`: for some minutes, in exchange for a client certificate. `session`: in
 * the cookie of a browser.
 */
export type TokenType = "user" | "enrolment" | "short" | "session";

const PREFIXES: Readonly<Record<TokenType, string>> = { user: "tpu", enrolment: "tpe", short: "tps", session: "tpb" };
const TYPE_OF: Readonly<Record<string, TokenType>> = { tpu: "user", tpe: "enrolment", tps: "short", tpb: "session" };
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_CHARS = 12;
/** 34 of 62: 202 bits. */
const SECRET_CHARS = 34;
const CRC_CHARS = 6;
const TOKEN = /^(tp[uesb])_([0-9A-Za-z]{12})_([0-9A-Za-z]{40})$/;

export interface ParsedToken {
  readonly type: TokenType;
  readonly id: string;
  /** Hex, of the whole token. */
  readonly sha256: string;
}

function base62(length: number): string {
  return Array.from({ length }, () => ALPHABET[randomInt(62)]).join("");
}

/** The checksum of what stands before it: a typo, or a text that only looks like a token, is told apart without asking anybody. */
function checksum(text: string): string {
  let rest = crc32(text);
  let code = "";
  for (let at = 0; at < CRC_CHARS; at += 1) {
    code = `${ALPHABET[rest % 62]}${code}`;
    rest = Math.floor(rest / 62);
  }
  return code;
}

export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A new token: `tpu_ID_SECRETCRC`. It is in nobody's hands but the caller's; what is kept of it is `sha256`. */
export function makeToken(type: TokenType): ParsedToken & { readonly token: string } {
  const id = base62(ID_CHARS);
  const body = `${PREFIXES[type]}_${id}_${base62(SECRET_CHARS)}`;
  const token = `${body}${checksum(body)}`;
  return { type, id, sha256: sha256Hex(token), token };
}

/** Undefined for what is no token of ours, or has a typo. */
export function parseToken(text: string): ParsedToken | undefined {
  const match = TOKEN.exec(text);
  if (match === null) return undefined;
  const [, prefix = "", id = ""] = match;
  const body = text.slice(0, -CRC_CHARS);
  if (text.slice(-CRC_CHARS) !== checksum(body)) return undefined;
  return { type: TYPE_OF[prefix] ?? "user", id, sha256: sha256Hex(text) };
}

/** Compares two digests in a time that tells nothing of where they differ. */
export function sameDigest(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
