import { type Certificate, isIssuedBy } from "./certificate.ts";
import { isKnownSignature, keyProblem } from "./signature.ts";

/** Says which serial numbers of which issuer (by its key) count no more. */
export interface RevocationList {
  isRevoked(issuerKeySha256: string, serial: string): boolean;
}

export type ChainFault = "untrusted" | "expired" | "not_yet" | "usage" | "not_end" | "weak" | "critical" | "revoked";

export type ChainResult =
  | {
      readonly ok: true;
      /** From the one that was asked about to what is trusted. */
      readonly path: readonly Certificate[];
      /** Of the one that was asked about. */
      readonly issuer: Certificate;
      /** What is trusted; the issuer, unless there is one between. */
      readonly anchor: Certificate;
    }
  | { readonly ok: false; readonly fault: ChainFault; readonly message: string };

export interface ChainQuery {
  readonly leaf: Certificate;
  /** What came with it, to lead to an anchor; not trusted by itself. */
  readonly others: readonly Certificate[];
  /** What is trusted. */
  readonly anchors: readonly Certificate[];
  readonly revocations: RevocationList;
  readonly nowMs: number;
  /** Object identifier of what it has to be for. */
  readonly usage: string;
  /** How long after its end the leaf still counts. The CAs get none. */
  readonly graceMs?: number;
}

/** CAs on the way, and signatures looked at for one question: what somebody sends must not cost much. */
const MAX_CAS = 5;
const MAX_SIGNATURES = 32;
const ANY_USAGE = "2.5.29.37.0";

function refuse(fault: ChainFault, message: string): { readonly ok: false; readonly fault: ChainFault; readonly message: string } {
  return { ok: false, fault, message };
}

type Refusal = ReturnType<typeof refuse>;

/** What both a leaf and a CA must be. */
function commonFault(certificate: Certificate, of: "anybody" | "ca"): Refusal | undefined {
  const weak = keyProblem(certificate.publicKey, of);
  if (weak !== undefined) return refuse("weak", weak);
  if (!isKnownSignature(certificate.signatureAlgorithm))
    return refuse("weak", `it is signed by an algorithm that is not taken (${certificate.signatureAlgorithm})`);
  const [critical] = certificate.unknownCritical;
  if (critical !== undefined) return refuse("critical", `it has a critical extension that is not understood (${critical})`);
  return undefined;
}

function leafFault({ leaf, nowMs, usage, graceMs = 0 }: ChainQuery): Refusal | undefined {
  if (leaf.ca) return refuse("not_end", "it is a CA's certificate");
  if (nowMs < leaf.notBeforeMs) return refuse("not_yet", "it is not valid yet; compare the clocks");
  if (nowMs > leaf.notAfterMs + graceMs) return refuse("expired", `it ran out at ${new Date(leaf.notAfterMs).toISOString()}`);
  if (leaf.extendedKeyUsage?.includes(usage) !== true) return refuse("usage", "it is not for this usage");
  if (leaf.keyUsage?.digitalSignature === false) return refuse("usage", "its key is not for signatures");
  return commonFault(leaf, "anybody");
}

/** Whether a CA may stand in a path, `below` CAs between it and the leaf. */
function caFault(ca: Certificate, below: number, { nowMs, usage }: ChainQuery): Refusal | undefined {
  if (!ca.ca) return refuse("untrusted", "it was issued by one that is no CA");
  if (ca.keyUsage?.certSign === false) return refuse("untrusted", "it was issued by a CA whose key is not for certificates");
  if (below > (ca.pathLength ?? Number.POSITIVE_INFINITY)) return refuse("untrusted", "a CA on the way must not have that many below it");
  if (nowMs < ca.notBeforeMs) return refuse("not_yet", "a CA on the way is not valid yet");
  if (nowMs > ca.notAfterMs) return refuse("expired", `a CA on the way ran out at ${new Date(ca.notAfterMs).toISOString()}`);
  if (ca.extendedKeyUsage !== undefined && !ca.extendedKeyUsage.includes(usage) && !ca.extendedKeyUsage.includes(ANY_USAGE))
    return refuse("usage", "a CA on the way is not for this usage");
  return commonFault(ca, "ca");
}

/** Whether a certificate may be believed: leads to an anchor, within its dates, for this usage, not revoked. */
export function verifyChain(query: ChainQuery): ChainResult {
  const { leaf, others, anchors, revocations } = query;
  const fault = leafFault(query);
  if (fault !== undefined) return fault;
  const trusted = new Set(anchors.map(({ sha256 }) => sha256));
  let signatures = 0;
  let last: Refusal = refuse("untrusted", "no CA that is trusted here has issued it");

  const issued = (ca: Certificate, certificate: Certificate): boolean => {
    if (certificate.issuer !== ca.subject) return false;
    signatures += 1;
    return signatures <= MAX_SIGNATURES && isIssuedBy(certificate, ca);
  };
  const climb = (path: readonly Certificate[], current: Certificate): Extract<ChainResult, { readonly ok: true }> | undefined => {
    if (path.length > MAX_CAS) return undefined;
    for (const ca of [...anchors, ...others]) {
      if (!issued(ca, current)) continue;
      const wrong =
        caFault(ca, path.length - 1, query) ??
        (revocations.isRevoked(ca.keySha256, current.serial)
          ? refuse("revoked", path.length === 1 ? "it is on the revocation list" : "a CA on the way is on the revocation list")
          : undefined);
      if (wrong !== undefined) {
        last = wrong;
        continue;
      }
      const longer = [...path, ca];
      if (trusted.has(ca.sha256)) return { ok: true, path: longer, issuer: path[1] ?? ca, anchor: ca };
      const found = climb(longer, ca);
      if (found !== undefined) return found;
    }
    return undefined;
  };
  return climb([leaf], leaf) ?? last;
}
