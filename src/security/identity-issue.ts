import { TransporterError } from "../kit/mod.ts";
import type { AuditLine } from "./documents.ts";
import type { Origin } from "./gate.ts";
import {
  type IdentityKey,
  type IdentityRecord,
  type IdentityRecords,
  identityRecords,
  isAlive,
  revokedKeys,
  soundKey,
  withKey,
} from "./identity-records.ts";
import type { Parts } from "./parts.ts";
import type { Certificate } from "./pki/certificate.ts";
import type { CertificateRequest } from "./pki/csr.ts";
import { type Issuer, issueAgent } from "./pki/issue.ts";

/** On whose word an agent gets an identity. */
export interface Word {
  /** As people see it. */
  readonly by: string;
  /** When it was given: one from before a revocation does not undo it. Undefined: it stands all the time. */
  readonly atMs: number | undefined;
  /** It is for just this agent; else it must not take an id from somebody who has it. */
  readonly exact: boolean;
  /** Undefined: it says nothing of labels, and those that were given before stay. */
  readonly labels: Readonly<Record<string, string>> | undefined;
}

export interface IdentityIssueOptions {
  readonly parts: Parts;
  readonly certificateTtlMs: number;
  readonly renewalGraceMs: number;
}

/** Issues certificates, each together with what is remembered of it: one that is in no record lets nobody in. */
export class IdentityIssue {
  readonly #options: IdentityIssueOptions;
  readonly #parts: Parts;
  readonly #records: IdentityRecords;

  constructor(options: IdentityIssueOptions) {
    this.#options = options;
    this.#parts = options.parts;
    this.#records = identityRecords(options.parts);
  }

  /** Throws IDENTITY_CONFLICT or ENROLMENT_REFUSED where this key must not have this id on this word. */
  async checkFree(agentId: string, keySha256: string, word: Word): Promise<void> {
    const held = await this.#records.get(agentId);
    if (held !== undefined) this.#refuseTaken(agentId, held.record, keySha256, word);
  }

  #refuseTaken(agentId: string, record: IdentityRecord, keySha256: string, word: Word): void {
    if (record.revokedAtMs !== undefined && (word.atMs ?? 0) <= record.revokedAtMs)
      throw new TransporterError("ENROLMENT_REFUSED", `the identity of ${JSON.stringify(agentId)} was revoked after this was vouched for`);
    const isHis = soundKey(record, keySha256) !== undefined;
    // One that was made before the id was anybody's was not meant to take it from whoever has it now.
    const mayTake = word.exact && (word.atMs ?? record.enrolledAtMs) >= record.enrolledAtMs;
    if (!isHis && !mayTake && isAlive(record, this.#nowMs, this.#options.renewalGraceMs))
      throw new TransporterError("IDENTITY_CONFLICT", `the id ${JSON.stringify(agentId)} belongs to another key`, {
        remedy:
          "Give the agent another id; or make a token for exactly this id, which takes it from the other key; or revoke the identity.",
      });
  }

  /** A first certificate, or one for another key. */
  async enrol(issuer: Issuer, agentId: string, csr: CertificateRequest, word: Word, from: Origin): Promise<Certificate> {
    const { certificate, key } = await this.#certificate(issuer, agentId, csr, from);
    const nowMs = this.#nowMs;
    const fresh: IdentityRecord = { enrolledAtMs: nowMs, enrolledBy: word.by, labels: word.labels ?? {}, keys: [key] };
    const audit = this.#audit("agent_enrolled", agentId, word.by, from, key);
    if (await this.#records.make(agentId, fresh, audit)) return certificate;
    const held = await this.#records.change(agentId, (record) => {
      this.#refuseTaken(agentId, record, csr.keySha256, word);
      // Who asks again with his own key goes on; another key takes the id over, and what was before it counts no more.
      const before = soundKey(record, csr.keySha256) === undefined ? revokedKeys(record.keys, nowMs) : record.keys;
      return {
        record: withKey({ ...fresh, labels: word.labels ?? record.labels, keys: before }, key, nowMs, this.#options.renewalGraceMs),
        audit,
      };
    });
    if (held === undefined) throw new TransporterError("STORE_UNAVAILABLE", "the identity was removed meanwhile; ask again");
    return certificate;
  }

  /** A certificate in the place of one that is running out. Throws IDENTITY_REFUSED, IDENTITY_REVOKED. */
  async renew(issuer: Issuer, agentId: string, oldKeySha256: string, csr: CertificateRequest, from: Origin): Promise<Certificate> {
    const check = (record: IdentityRecord): IdentityRecord => {
      if (record.keys.every((key) => key.keySha256 !== oldKeySha256)) throw unknownCertificate();
      if (soundKey(record, oldKeySha256) === undefined) throw new TransporterError("IDENTITY_REVOKED", "the agent's identity was revoked");
      // A key that was revoked does not come back by being asked for again.
      if (record.keys.some((key) => key.keySha256 === csr.keySha256 && key.revokedAtMs !== undefined))
        throw new TransporterError("IDENTITY_REVOKED", "the new key was revoked");
      return record;
    };
    // Before anything is signed.
    const known = await this.#records.get(agentId);
    if (known === undefined) throw unknownCertificate();
    check(known.record);
    const { certificate, key } = await this.#certificate(issuer, agentId, csr, from);
    const audit = this.#audit("agent_renewed", agentId, `agent:${agentId}`, from, key);
    await this.#records.change(agentId, (record) => ({
      record: withKey(check(record), key, this.#nowMs, this.#options.renewalGraceMs),
      audit,
    }));
    return certificate;
  }

  async #certificate(
    issuer: Issuer,
    agentId: string,
    csr: CertificateRequest,
    from: Origin,
  ): Promise<{ readonly certificate: Certificate; readonly key: IdentityKey }> {
    this.#parts.signings.take(from.address);
    const { certificateTtlMs: ttlMs } = this.#options;
    const nowMs = this.#nowMs;
    const certificate = await issueAgent(issuer, { publicKey: csr.publicKey, agentId, nowMs, ttlMs });
    const ca = issuer.certificate.keySha256;
    const key: IdentityKey = {
      keySha256: csr.keySha256,
      serial: certificate.serial,
      issuerKeySha256: ca,
      anchorKeySha256: ca,
      issuedAtMs: nowMs,
      expiresAtMs: certificate.notAfterMs,
    };
    return { certificate, key };
  }

  get #nowMs(): number {
    return this.#parts.ports.clock.now();
  }

  #audit(action: string, agentId: string, principal: string, from: Origin, key: IdentityKey): AuditLine {
    return {
      tenant: this.#parts.tenant,
      atMs: this.#nowMs,
      principal,
      action,
      agentId,
      remoteAddress: from.address,
      requestId: from.requestId,
      details: { key_sha256: key.keySha256, serial: key.serial, expires_at: new Date(key.expiresAtMs).toISOString() },
    };
  }
}

function unknownCertificate(): TransporterError {
  return new TransporterError("IDENTITY_REFUSED", "the certificate is not known as this agent's");
}
