import { randomBytes } from "node:crypto";
import { TransporterError, toTransporterError } from "../kit/mod.ts";
import { type ChallengeFrame, type IdentityView, agentStatement } from "../protocol/mod.ts";
import { type AgentCertificate, checkAgentCertificate } from "./agent-certificate.ts";
import type { AuditLine } from "./documents.ts";
import type { IdentityService, Origin, VerifiedAgent } from "./gate.ts";
import {
  type IdentityKey,
  type IdentityRecord,
  type IdentityRecords,
  identityRecords,
  identityView,
  revokedKeys,
  soundKey,
  withKey,
} from "./identity-records.ts";
import { Knock } from "./knock.ts";
import type { Parts } from "./parts.ts";
import type { TrustState } from "./pki/trust-state.ts";
import { verifyText } from "./pki/signature.ts";
import { type Principal, agentPrincipal } from "./principal.ts";
import { sameDigest } from "./token-format.ts";
import type { Trust } from "./trust.ts";

export interface IdentitiesOptions {
  readonly parts: Parts;
  readonly trust: Trust;
}

type Question = Parameters<IdentityService["verify"]>[0];

/** How long after it was asked an answer still counts. */
const CHALLENGE_MS = 10_000;
const NO_CHANNEL = "none";

function refused(message: string): TransporterError {
  return new TransporterError("IDENTITY_REFUSED", message);
}

/** Who agents are: by their certificate, by their key here and now, and by what this installation knows of them. */
export function createIdentities(options: IdentitiesOptions): IdentityService {
  return new Identities(options);
}

class Identities implements IdentityService {
  readonly #parts: Parts;
  readonly #trust: Trust;
  readonly #records: IdentityRecords;
  #seen: TrustState;
  /** Keys of CAs that were trusted while this ran, and are not any more. */
  readonly #retired = new Set<string>();

  constructor({ parts, trust }: IdentitiesOptions) {
    this.#parts = parts;
    this.#trust = trust;
    this.#records = identityRecords(parts);
    this.#seen = trust.state();
  }

  challenge(): ChallengeFrame {
    return { type: "challenge", nonce: randomBytes(32).toString("base64url"), audience: this.#parts.audience };
  }

  async verify(question: Question): Promise<VerifiedAgent> {
    const { agentId, from } = question;
    const { attempts, refusals } = this.#parts;
    let knock: Knock | undefined;
    try {
      knock = new Knock(attempts, from.address);
      const shown = this.#checkProof(question);
      // Before anything is waited for: a thousand agents that come back at once from one address are no thousand guesses.
      knock.right();
      return await this.#checkIdentity(shown, from);
    } catch (thrown) {
      const error = toTransporterError(thrown);
      if (error.kind === "denied" || error.code === "TOO_MANY_ATTEMPTS") {
        knock?.wrong();
        const { code, message } = error;
        await refusals.note({ action: "proof_refused", code, ...from, agentId, details: { reason: message } });
      }
      throw error;
    }
  }

  /** What can be known without asking anybody. */
  #checkProof({ agentId, proof, challenge, ageMs, channels }: Question): AgentCertificate {
    if (proof === null || proof === undefined) throw new TransporterError("IDENTITY_REQUIRED", "the agent showed no certificate");
    if (ageMs > CHALLENGE_MS) throw refused("the answer to the challenge came too late");
    if (!sameDigest(proof.nonce, challenge.nonce)) throw refused("the answer is to another challenge");
    if (proof.channel !== NO_CHANNEL && !channels.includes(proof.channel))
      throw refused("the agent saw another server: somebody stands between");
    const shown = checkAgentCertificate(proof.certificate, this.#trust.state(), this.#nowMs);
    if (shown.agentId !== agentId) throw refused("the agent's certificate is another agent's");
    const { certificate } = shown;
    const { audience } = this.#parts;
    const statement = agentStatement({
      audience,
      nonce: challenge.nonce,
      agentId,
      certificateSha256: certificate.sha256,
      channel: proof.channel,
    });
    if (!verifyText(statement, proof.signature, certificate.publicKey)) throw refused("the signature is not of the certificate's key");
    return shown;
  }

  async #checkIdentity(shown: AgentCertificate, from: Origin): Promise<VerifiedAgent> {
    const { agentId, certificate, expiresAtMs } = shown;
    const { keySha256, serial } = certificate;
    const issuedHere = this.#trust.state().issuer !== undefined;
    let record = (await this.#records.get(agentId))?.record;
    if (!issuedHere && (record === undefined || record.keys.every((key) => key.keySha256 !== keySha256)))
      record = await this.#takeIn(shown, from);
    if (record === undefined) throw refused("no identity of this agent is known");
    if (record.revokedAtMs !== undefined) throw new TransporterError("IDENTITY_REVOKED", "the agent's identity was revoked");
    const known = record.keys.find((key) => key.keySha256 === keySha256);
    if (known === undefined) throw refused("the key is not known as this agent's");
    if (known.revokedAtMs !== undefined) throw new TransporterError("IDENTITY_REVOKED", "the agent's key was revoked");
    const principal: Principal = { ...agentPrincipal(agentId, "proof"), tenant: this.#parts.tenant };
    // Somebody else's CA gives no word on which keys belong together.
    const sameAs = issuedHere ? record.keys.filter((key) => key.revokedAtMs === undefined).map((key) => key.keySha256) : [keySha256];
    return { principal, keySha256, sameAs, serial, expiresAtMs, labels: record.labels };
  }

  /** Somebody else's CA vouches for an agent, or for a key, that was not here yet. */
  async #takeIn(shown: AgentCertificate, from: Origin): Promise<IdentityRecord | undefined> {
    const { agentId, certificate } = shown;
    const nowMs = this.#nowMs;
    const key: IdentityKey = {
      keySha256: certificate.keySha256,
      serial: certificate.serial,
      issuerKeySha256: shown.issuerKeySha256,
      anchorKeySha256: shown.anchorKeySha256,
      issuedAtMs: certificate.notBeforeMs,
      expiresAtMs: certificate.notAfterMs,
    };
    const audit = this.#audit("agent_enrolled", agentId, "ca", from, { key_sha256: key.keySha256, serial: key.serial });
    const fresh: IdentityRecord = { enrolledAtMs: nowMs, enrolledBy: "ca", labels: {}, keys: [key] };
    if (await this.#records.make(agentId, fresh, audit)) return fresh;
    const held = await this.#records.change(agentId, (record) => {
      const isKnown = record.keys.some((other) => other.keySha256 === key.keySha256);
      return record.revokedAtMs !== undefined || isKnown ? undefined : { record: withKey(record, key, nowMs, 0), audit };
    });
    return held?.record;
  }

  async still(agentId: string, keySha256: string): Promise<{ readonly expiresAtMs: number } | undefined> {
    const record = (await this.#records.get(agentId))?.record;
    if (record === undefined || soundKey(record, keySha256) === undefined) return undefined;
    const { revocations } = this.#trust.state();
    const retired = this.#retiredCas();
    // Any of the agent's: who has renewed need not come anew.
    const ends = record.keys
      .filter((key) => key.revokedAtMs === undefined && !retired.has(key.anchorKeySha256))
      .filter((key) => !revocations.isRevoked(key.issuerKeySha256, key.serial))
      .map((key) => key.expiresAtMs);
    const expiresAtMs = Math.max(...ends);
    return expiresAtMs > this.#nowMs ? { expiresAtMs } : undefined;
  }

  #retiredCas(): ReadonlySet<string> {
    const state = this.#trust.state();
    for (const { keySha256 } of this.#seen.cas) this.#retired.add(keySha256);
    for (const { keySha256 } of state.cas) this.#retired.delete(keySha256);
    this.#seen = state;
    return this.#retired;
  }

  async get(agentId: string): Promise<IdentityView | undefined> {
    const held = await this.#records.get(agentId);
    return held === undefined ? undefined : identityView(agentId, held.record);
  }

  async list(query: { readonly after?: string; readonly limit: number }): Promise<readonly IdentityView[]> {
    return (await this.#records.list(query)).map(({ id, record }) => identityView(id, record));
  }

  async revoke(agentId: string, by: Principal, from: Origin): Promise<IdentityView> {
    const held = await this.#records.change(agentId, (record) => {
      if (record.revokedAtMs !== undefined) return undefined;
      const nowMs = this.#nowMs;
      return {
        record: { ...record, revokedAtMs: nowMs, keys: revokedKeys(record.keys, nowMs) },
        audit: this.#audit("identity_revoked", agentId, by.name, from, {}),
      };
    });
    if (held === undefined)
      throw new TransporterError("IDENTITY_NOT_FOUND", `agent ${JSON.stringify(agentId.slice(0, 253))} has no identity`);
    return identityView(agentId, held.record);
  }

  get #nowMs(): number {
    return this.#parts.ports.clock.now();
  }

  #audit(action: string, agentId: string, principal: string, from: Origin, details: Readonly<Record<string, unknown>>): AuditLine {
    const { tenant } = this.#parts;
    return { tenant, atMs: this.#nowMs, principal, action, agentId, remoteAddress: from.address, requestId: from.requestId, details };
  }
}
