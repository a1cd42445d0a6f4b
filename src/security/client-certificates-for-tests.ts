import { expect } from "bun:test";
import { type CertificateLogin, loginStatement } from "../protocol/mod.ts";
import { type CertificateTrust, ClientCertificates } from "./client-certificates.ts";
import { LoginNonces } from "./login-nonces.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { codeOf, FROM, testParts } from "./parts-for-tests.ts";
import { CLIENT_AUTH } from "./pki/certificate.ts";
import { NO_REVOCATIONS } from "./pki/crl.ts";
import { signText } from "./pki/signature.ts";
import { type Made, makeCertificate, makeTestCa, type Wanted } from "./pki/certificates-for-tests.ts";

export const START_MS = testParts().ports.clock.now();
export const NONCE_MS = 60_000;
export const NONCE_KEY = "ab".repeat(32);
export const [peopleCa, agentsCa, strangerCa] = await Promise.all([makeTestCa(START_MS), makeTestCa(START_MS), makeTestCa(START_MS)]);

type State = { people: readonly Made[]; agents: readonly Made[]; revocations: ReturnType<CertificateTrust["revocations"]> };

/** People and agents who log in with certificates, of CAs that tests may change. */
export function certificatesBench(documents = memoryDocuments()) {
  const parts = testParts(documents);
  const state: State = { people: [peopleCa], agents: [agentsCa], revocations: NO_REVOCATIONS };
  const trust: CertificateTrust = {
    clientCas: () => state.people.map(({ certificate }) => certificate),
    agentCas: () => state.agents.map(({ certificate }) => certificate),
    revocations: () => state.revocations,
  };
  const living = new Set<string>();
  const identities = {
    still: async (agentId: string, key: string) => (living.has(`${agentId} ${key}`) ? { expiresAtMs: 9e15 } : undefined),
  };
  const nonces = new LoginNonces({ documents, ports: parts.ports, tenant: "default", key: NONCE_KEY });
  const certificates = new ClientCertificates(parts, trust, identities, nonces);
  const answer = (of: Made, more: Partial<CertificateLogin> & { readonly audience?: string } = {}): CertificateLogin => {
    const { audience = parts.audience, ...rest } = more;
    const nonce = more.nonce ?? certificates.challenge().nonce;
    const statement = loginStatement({ audience, nonce, certificateSha256: of.certificate.sha256 });
    return { nonce, certificate: of.pem, signature: signText(statement, of.keyPem), ...rest };
  };
  /** Why it is refused, as the audit has it; `ok` where it is not. */
  let asked = 0;
  const why = async (login: CertificateLogin): Promise<unknown> => {
    const before = documents.audit.length;
    asked += 1;
    // Of one address only the first few are written by themselves.
    const from = { ...FROM, address: `192.0.2.${asked}` };
    const code = await codeOf(() => certificates.login(login, from));
    const line = documents.audit[before];
    if (code !== "ok") expect(line).toMatchObject({ action: "login_refused", remoteAddress: from.address, details: { code } });
    return code === "ok" ? code : (line?.details?.["why"] ?? code);
  };
  return { ...parts, state, living, nonces, certificates, answer, why };
}

export function person(more: Partial<Wanted> = {}): Promise<Made> {
  return makeCertificate({
    by: peopleCa,
    fromMs: START_MS - 1000,
    untilMs: START_MS + 3_000_000,
    usages: [CLIENT_AUTH],
    keyUsage: ["digitalSignature"],
    subject: [
      ["O", "Example"],
      ["O", "transporter:operator"],
      ["CN", "alice"],
    ],
    ...more,
  });
}
export const alice = await person();
