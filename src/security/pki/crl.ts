import { messageOf, TransporterError } from "../../kit/mod.ts";
import { type Certificate, readExtensions } from "./certificate.ts";
import type { RevocationList } from "./chain.ts";
import { type Element, TAG, childrenOf, expectTag, integerHex, signedParts, timeMs } from "./der.ts";
import { verifySigned } from "./signature.ts";

export interface Revocations extends RevocationList {
  /** How many certificates are listed. */
  readonly size: number;
  /** When the first of the lists wants to be replaced; undefined where none says so. */
  readonly nextUpdateMs: number | undefined;
}

export const NO_REVOCATIONS: Revocations = { size: 0, nextUpdateMs: undefined, isRevoked: () => false };

const BLOCK = /-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----/g;
/** CRL number and authority key identifier never are critical; whatever is changes what the list means. */
const CRL_EXTENSIONS = 0xa0;

function invalid(path: string, message: string, cause?: unknown): TransporterError {
  return new TransporterError("CONFIG_INVALID", `the revocation list ${path} cannot be used: ${message}`, {
    cause,
    remedy: "Give PEM revocation lists (X509 CRL), complete ones, signed by a CA that is trusted here.",
  });
}

interface List {
  readonly serials: readonly string[];
  readonly nextUpdateMs: number | undefined;
}

function isTime(part: Element | undefined): part is Element {
  return part?.tag === TAG.utcTime || part?.tag === TAG.generalizedTime;
}

/** `TBSCertList`: version, algorithm, issuer, thisUpdate, nextUpdate?, revoked?, extensions?. */
function readList(bytes: Uint8Array, body: Element): List {
  const parts = [...childrenOf(bytes, body)];
  if (parts[0]?.tag === TAG.integer) parts.shift();
  expectTag(parts.shift(), TAG.sequence);
  expectTag(parts.shift(), TAG.sequence);
  const [thisUpdate, next] = parts;
  if (!isTime(thisUpdate)) throw new Error("it has no date");
  const nextUpdateMs = isTime(next) ? timeMs(bytes, next) : undefined;
  const serials: string[] = [];
  for (const part of parts) {
    if (part.tag === CRL_EXTENSIONS) {
      const [inner] = childrenOf(bytes, part);
      refuseCritical(bytes, expectTag(inner, TAG.sequence));
    }
    if (part.tag !== TAG.sequence) continue;
    for (const entry of childrenOf(bytes, part)) {
      const [serial, , extensions] = childrenOf(bytes, expectTag(entry, TAG.sequence));
      // A list for several issuers says so in its entries, critically.
      if (extensions !== undefined) refuseCritical(bytes, extensions);
      serials.push(integerHex(bytes, expectTag(serial, TAG.integer)));
    }
  }
  return { serials, nextUpdateMs };
}

function refuseCritical(bytes: Uint8Array, extensions: Element): void {
  for (const { oid, critical } of readExtensions(bytes, extensions).values()) {
    if (critical) throw new Error(`it has a critical extension that is not understood (${oid})`);
  }
}

/**
 * Reads the revocation lists of a PEM text. Each must be signed by one of `cas`. A list that should have been replaced by now counts on,
 * as far as it goes: whom it names stays out. Throws CONFIG_INVALID.
 */
export function readRevocations(pem: string, cas: readonly Certificate[], path: string): Revocations {
  const blocks = [...pem.matchAll(BLOCK)];
  if (blocks.length === 0) throw invalid(path, "it holds no PEM block of an X509 CRL");
  const revoked = new Set<string>();
  let nextUpdateMs: number | undefined;
  for (const [, body = ""] of blocks) {
    const bytes = Buffer.from(body.replace(/\s/g, ""), "base64");
    let list: List;
    let issuers: readonly Certificate[];
    try {
      const signed = signedParts(bytes);
      list = readList(bytes, signed.body);
      issuers = cas.filter(
        (ca) => ca.keyUsage?.crlSign !== false && verifySigned(signed.algorithm, signed.bodyBytes, signed.signature, ca.publicKey),
      );
    } catch (error) {
      throw invalid(path, messageOf(error), error);
    }
    if (issuers.length === 0) throw invalid(path, "no CA that is trusted here has signed it");
    for (const { keySha256 } of issuers) for (const serial of list.serials) revoked.add(`${keySha256} ${serial}`);
    if (list.nextUpdateMs !== undefined) nextUpdateMs = Math.min(list.nextUpdateMs, nextUpdateMs ?? list.nextUpdateMs);
  }
  return { size: revoked.size, nextUpdateMs, isRevoked: (issuer, serial) => revoked.has(`${issuer} ${serial}`) };
}
