import * as v from "valibot";
import { type IdentityView, formatTimestamp } from "../protocol/mod.ts";
import { DOCUMENT_KINDS } from "./documents.ts";
import type { Parts } from "./parts.ts";
import { SharedRecords } from "./shared-record.ts";

const Time = v.number();
const Hex = v.pipe(v.string(), v.nonEmpty());

/** A key of an agent, with the newest certificate for it. */
const IdentityKeySchema = v.object({
  keySha256: Hex,
  serial: Hex,
  /** The CA's key that signed the certificate. */
  issuerKeySha256: Hex,
  /** The CA's key that is trusted, which is the same unless there is one between. */
  anchorKeySha256: Hex,
  issuedAtMs: Time,
  expiresAtMs: Time,
  revokedAtMs: v.optional(Time),
});
export type IdentityKey = v.InferOutput<typeof IdentityKeySchema>;

const IdentityRecordSchema = v.object({
  enrolledAtMs: Time,
  /** `token:NAME`, `cluster:NAME:SUBJECT`, or `ca` where somebody else's CA vouches for agents. */
  enrolledBy: v.string(),
  labels: v.record(v.string(), v.string()),
  revokedAtMs: v.optional(Time),
  /** Newest first. */
  keys: v.array(IdentityKeySchema),
});
export type IdentityRecord = v.InferOutput<typeof IdentityRecordSchema>;

/** More a sound agent has not got by far: each renewal brings one, and the ones that ran out go. */
const MAX_KEYS = 20;

export type IdentityRecords = SharedRecords<IdentityRecord>;

export function identityRecords({ documents, tenant }: Pick<Parts, "documents" | "tenant">): IdentityRecords {
  return new SharedRecords({
    documents,
    tenant,
    kind: DOCUMENT_KINDS.identity,
    schema: IdentityRecordSchema,
    // For ever: that it was revoked must not be forgotten.
    expiresAtMs: () => undefined,
  });
}

/** The key's place in a record, if it may be used. */
export function soundKey(record: IdentityRecord, keySha256: string): IdentityKey | undefined {
  if (record.revokedAtMs !== undefined) return undefined;
  return record.keys.find((key) => key.keySha256 === keySha256 && key.revokedAtMs === undefined);
}

/** Whether somebody may still come back under this identity by himself: `graceMs` after its last certificate ran out. */
export function isAlive(record: IdentityRecord, nowMs: number, graceMs: number): boolean {
  if (record.revokedAtMs !== undefined) return false;
  return record.keys.some((key) => key.revokedAtMs === undefined && key.expiresAtMs + graceMs > nowMs);
}

/** The record with a certificate more, which goes to the key that it is for; what ran out beyond the grace is left out. */
export function withKey(record: IdentityRecord, key: IdentityKey, nowMs: number, graceMs: number): IdentityRecord {
  const others = record.keys.filter((other) => other.keySha256 !== key.keySha256 && other.expiresAtMs + graceMs > nowMs);
  return { ...record, keys: [key, ...others].slice(0, MAX_KEYS) };
}

export function revokedKeys(keys: readonly IdentityKey[], nowMs: number): IdentityKey[] {
  return keys.map((key) => ({ ...key, revokedAtMs: key.revokedAtMs ?? nowMs }));
}

export function identityView(agentId: string, record: IdentityRecord): IdentityView {
  return {
    agent_id: agentId,
    enrolled_at: formatTimestamp(record.enrolledAtMs),
    enrolled_by: record.enrolledBy,
    labels: record.labels,
    ...(record.revokedAtMs === undefined ? {} : { revoked_at: formatTimestamp(record.revokedAtMs) }),
    certificates: record.keys.map((key) => ({
      serial: key.serial,
      key_sha256: key.keySha256,
      ca_key_sha256: key.issuerKeySha256,
      issued_at: formatTimestamp(key.issuedAtMs),
      expires_at: formatTimestamp(key.expiresAtMs),
      ...(key.revokedAtMs === undefined ? {} : { revoked_at: formatTimestamp(key.revokedAtMs) }),
    })),
  };
}
