import { TransporterError } from "../kit/mod.ts";
import { LIMITS } from "../protocol/mod.ts";
import type { Principal } from "../security/mod.ts";

const VISIBLE_ASCII = /^[\x21-\x7e]+$/;

/**
 * The event id that an Idempotency-Key stands for: a UUID of version 8 from SHA-256 of tenant, principal and key, so that the same key of the
 * same principal is the same event, whoever restarts in between, and two principals never meet. Throws INVALID_IDEMPOTENCY_KEY.
 */
export function idOfKey(principal: Principal, key: string): string {
  if (key.length > LIMITS.idempotencyKeyChars || !VISIBLE_ASCII.test(key))
    throw new TransporterError(
      "INVALID_IDEMPOTENCY_KEY",
      `an Idempotency-Key is 1 to ${LIMITS.idempotencyKeyChars} visible ASCII characters; this one has ${key.length}`,
    );
  return uuidOfText(`${principal.tenant}\0${principal.name}\0${key}`);
}

/** A UUID of version 8 from the text's SHA-256. */
export function uuidOfText(text: string): string {
  const hash = Buffer.from(Bun.SHA256.hash(text, "hex"), "hex");
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString("hex", 0, 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
