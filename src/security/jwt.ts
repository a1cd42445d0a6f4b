import type { JWTPayload } from "jose";
import * as v from "valibot";
import { TransporterError } from "../kit/mod.ts";
import type { IssuerKeys, KeySet } from "./issuer-keys.ts";

/** What a JWT must be to count. */
export interface JwtRules {
  readonly issuer: string;
  readonly audience: string;
  readonly algorithms: readonly string[];
  readonly keys: IssuerKeys;
}

export type JwtOutcome = { readonly payload: JWTPayload & { readonly exp: number } } | { readonly why: string };

/** Signed with a private key and checked with a public one. All others would let whoever knows the public key sign. */
const ASYMMETRIC: ReadonlySet<string> = new Set("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519".split(" "));
/** Other types are for other purposes, such as to log somebody out, though the issuer signs them with the same key. */
const TYPES: ReadonlySet<string> = new Set(["jwt", "at+jwt", "application/at+jwt"]);
const UNKNOWN_KEY = "unknown key";
/** By the code of jose's error, and where it is about a claim by that. */
const WHY: ReadonlyMap<string, string> = new Map([
  ["ERR_JWKS_NO_MATCHING_KEY", UNKNOWN_KEY],
  ["ERR_JWKS_MULTIPLE_MATCHING_KEYS", "ambiguous key"],
  ["ERR_JOSE_ALG_NOT_ALLOWED", "wrong algorithm"],
  ["ERR_JWT_EXPIRED", "expired"],
  ["ERR_JWS_SIGNATURE_VERIFICATION_FAILED", "wrong signature"],
  ["iss", "wrong issuer"],
  ["aud", "wrong audience"],
  ["nbf", "not valid yet"],
]);
const MAX_CHARS = 16_384;
/** Clocks of two machines differ. */
const TOLERANCE_S = 10;
const THREE_PARTS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;

export function looksLikeJwt(text: string): boolean {
  return text.length <= MAX_CHARS && THREE_PARTS.test(text);
}

/** Throws CONFIG_INVALID for algorithms that must not count, and for none at all. */
export function checkAlgorithms(algorithms: readonly string[]): void {
  const wrong = algorithms.find((name) => !ASYMMETRIC.has(name));
  if (algorithms.length > 0 && wrong === undefined) return;
  throw new TransporterError("CONFIG_INVALID", `the algorithm ${JSON.stringify(wrong ?? "")} is none that tokens are checked by`, {
    remedy: `Use some of ${[...ASYMMETRIC].join(", ")}.`,
  });
}

const ClaimedSchema = v.object({ iss: v.string() });

/** Who says to have issued it: to know which rules to check it by, and for nothing else. */
export function claimedIssuer(token: string): string | undefined {
  try {
    const payload: unknown = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
    return v.parse(ClaimedSchema, payload).iss;
  } catch {
    return undefined;
  }
}

/** Checks signature, type, issuer, audience and times. Throws ISSUER_UNAVAILABLE where the issuer's keys cannot be had. */
export async function verifyJwt(token: string, rules: JwtRules, nowMs: number): Promise<JwtOutcome> {
  if (!looksLikeJwt(token)) return { why: "malformed" };
  const keys = await rules.keys.get();
  const outcome = await check(token, rules, keys, nowMs);
  const { why } = outcome as { readonly why?: string };
  if (why !== UNKNOWN_KEY) return outcome;
  return check(token, rules, await rules.keys.newerThan(keys), nowMs);
}

async function check(token: string, rules: JwtRules, keys: KeySet, nowMs: number): Promise<JwtOutcome> {
  const { jwtVerify } = await import("jose");
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys.find, {
      issuer: rules.issuer,
      audience: rules.audience,
      algorithms: [...rules.algorithms],
      requiredClaims: ["exp"],
      clockTolerance: TOLERANCE_S,
      currentDate: new Date(nowMs),
    });
    if (protectedHeader.typ !== undefined && !TYPES.has(protectedHeader.typ.toLowerCase())) return { why: "wrong type" };
    return { payload: { ...payload, exp: payload.exp ?? 0 } };
  } catch (error) {
    const { code = "", claim = "" } = error as { readonly code?: string; readonly claim?: string };
    return { why: WHY.get(code) ?? WHY.get(claim) ?? "malformed" };
  }
}
