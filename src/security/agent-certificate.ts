import { TransporterError } from "../kit/mod.ts";
import { type ErrorCode, agentIdOfUri } from "../protocol/mod.ts";
import { type Certificate, CLIENT_AUTH, readCertificates } from "./pki/certificate.ts";
import { type ChainFault, verifyChain } from "./pki/chain.ts";
import type { TrustState } from "./pki/trust-state.ts";

/** An agent's certificate that leads to a CA that is trusted. Whether the identity still counts is another question. */
export interface AgentCertificate {
  readonly certificate: Certificate;
  readonly agentId: string;
  readonly issuerKeySha256: string;
  readonly anchorKeySha256: string;
  /** Of it and of all above it, the first that ends. */
  readonly expiresAtMs: number;
}

/** Its own, and what leads to the CA. */
const MAX_CERTIFICATES = 6;
const MAX_CHARS = 65_536;

const CODE_OF: Readonly<Record<ChainFault, ErrorCode>> = {
  untrusted: "IDENTITY_REFUSED",
  expired: "IDENTITY_EXPIRED",
  not_yet: "IDENTITY_REFUSED",
  usage: "IDENTITY_REFUSED",
  not_end: "IDENTITY_REFUSED",
  weak: "IDENTITY_REFUSED",
  critical: "IDENTITY_REFUSED",
  revoked: "IDENTITY_REVOKED",
};

function refused(message: string): TransporterError {
  return new TransporterError("IDENTITY_REFUSED", message);
}

/** Reads and checks what an agent shows. Throws IDENTITY_REFUSED, IDENTITY_EXPIRED, IDENTITY_REVOKED. */
export function checkAgentCertificate(pem: string, trust: TrustState, nowMs: number, graceMs = 0): AgentCertificate {
  const [leaf, ...others] = (pem.length > MAX_CHARS ? undefined : readCertificates(pem, MAX_CERTIFICATES)) ?? [];
  if (leaf === undefined) throw refused("the agent's certificate cannot be read");
  const { cas: anchors, revocations } = trust;
  const chain = verifyChain({ leaf, others, anchors, revocations, nowMs, usage: CLIENT_AUTH, graceMs });
  if (!chain.ok) throw new TransporterError(CODE_OF[chain.fault], `the agent's certificate is not taken: ${chain.message}`);
  // One id only: which of two was meant is not for us to guess.
  const ids = leaf.uris.filter((uri) => uri.startsWith("transporter:"));
  const [uri] = ids;
  const agentId = uri === undefined || ids.length > 1 ? undefined : agentIdOfUri(uri);
  if (agentId === undefined) throw refused("the agent's certificate does not name one agent");
  return {
    certificate: leaf,
    agentId,
    issuerKeySha256: chain.issuer.keySha256,
    anchorKeySha256: chain.anchor.keySha256,
    expiresAtMs: Math.min(...chain.path.map(({ notAfterMs }) => notAfterMs)),
  };
}
