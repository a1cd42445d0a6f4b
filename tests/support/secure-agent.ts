import { X509Certificate } from "node:crypto";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { agentStatement, type ChallengeFrame, type Proof } from "../../src/protocol/mod.ts";
import { signText } from "../../src/security/mod.ts";
import { dialAgent, type WireAgent } from "./wire-agent.ts";

type Json = Record<string, unknown>;

/** What an agent has that was enrolled. PEM. */
export interface EnrolledAgent {
  readonly agentId: string;
  readonly key: string;
  readonly certificate: string;
  readonly trust: string;
  readonly audience: string;
}

/** What goes into a proof, before it is signed: a test may say something else. */
export interface Claim {
  readonly audience: string;
  readonly nonce: string;
  readonly agentId: string;
  readonly channel: string;
}

export interface ProofOptions {
  /** What the server's certificate has to lead to. */
  readonly ca: string;
  readonly agent: EnrolledAgent;
  /** In place of the agent's own, in the handshake; null: none. */
  readonly client?: { readonly certificate: string; readonly key: string } | null;
  /** Changes what is claimed before it is signed. */
  readonly claim?: (claim: Claim) => Claim;
  /** Changes the proof after it was signed; undefined: none is sent. */
  readonly proof?: (proof: Proof) => Proof | undefined;
  /** Held before the challenge is answered. */
  readonly hold?: (challenge: ChallengeFrame) => Promise<void>;
}

/** The proof of a challenge, as an agent makes it. */
export function proofOf(agent: EnrolledAgent, claim: Claim): Proof {
  const { raw } = new X509Certificate(agent.certificate);
  const certificateSha256 = new Bun.CryptoHasher("sha256").update(raw).digest("hex");
  const statement = agentStatement({ ...claim, certificateSha256 });
  return {
    certificate: agent.certificate,
    nonce: claim.nonce,
    channel: claim.channel,
    signature: signText(statement, agent.key),
  };
}

/** An agent that answers the challenge and then does what the test says. It is there when it was answered, or refused. */
export function dialWithProof(wsUrl: string, options: ProofOptions, registration: Json = {}): Promise<WireAgent> {
  const { agent, ca } = options;
  const client = options.client === undefined ? agent : (options.client ?? undefined);
  let channel = "none";
  return dialAgent(wsUrl, registration, {
    tls: {
      ca,
      ...(client === undefined ? {} : { cert: client.certificate, key: client.key }),
      checkServerIdentity(host: string, certificate: PeerCertificate) {
        channel = `tls-server-end-point:${certificate.fingerprint256.replaceAll(":", "").toLowerCase()}`;
        return checkServerIdentity(host, certificate);
      },
    },
    async prove(challenge) {
      await options.hold?.(challenge);
      const claim: Claim = { audience: challenge.audience, nonce: challenge.nonce, agentId: agent.agentId, channel };
      const proof = proofOf(agent, options.claim?.(claim) ?? claim);
      return options.proof === undefined ? proof : options.proof(proof);
    },
  });
}
