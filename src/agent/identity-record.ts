import { createHash, createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { TransporterError } from "../kit/mod.ts";
import { agentIdOfUri } from "../protocol/mod.ts";
import * as v from "valibot";
import type { FileChange, FileTexts } from "./identity-files.ts";

/** Who an agent is, and what it trusts. */
export interface Identity {
  /** PEM; never logged, and sent nowhere. */
  readonly key: string;
  /** PEM, the agent's own first. */
  readonly certificate: string;
  /** Hex, of the DER of the agent's own. */
  readonly certificateSha256: string;
  /** PEM of the CAs that the control planes' certificates come from. */
  readonly trust: string;
  /** Of the installation that enrolled it; undefined where the certificate comes from elsewhere. */
  readonly audience: string | undefined;
  /** Where it was told to connect; empty where nothing was said. */
  readonly agentUrls: readonly string[];
  readonly expiresAtMs: number;
  /** When it is to be renewed; undefined where somebody else sees to that. */
  readonly renewAtMs: number | undefined;
}

/** What was kept. */
export interface Kept {
  readonly identity: Identity | undefined;
  /** Of a request that may be under way: asking again with the same key is the same request. */
  readonly nextKey: string | undefined;
  /** The certificate is already the one of `nextKey`, which only has to become `key.pem`. */
  readonly promoted: boolean;
}

const AboutSchema = v.object({
  version: v.literal(1),
  agent_id: v.string(),
  audience: v.string(),
  agent_urls: v.array(v.string()),
  /** By the agent's clock: it need not agree with the certificate's. */
  received_at_ms: v.number(),
  renew_at_ms: v.number(),
});

/** The PEM certificates of a text. */
export function certificatesOf(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

function publicKeysOf(pem: string): string[] {
  return certificatesOf(pem).map(({ publicKey }) => publicKey.export({ type: "spki", format: "pem" }));
}

/**
 * How many CAs a bundle has that is to take the place of what is trusted. Throws where it cannot be read or has none of those that are trusted so
 * far: it would leave the agent alone with strangers.
 */
export function checkSuccessor(bundle: string, trusted: string): number {
  const [after, before] = [publicKeysOf(bundle), publicKeysOf(trusted)];
  if (!after.some((key) => before.includes(key))) throw new Error("it has none of the CAs that are trusted so far");
  return after.length;
}

/** Hex SHA-256 of a key's SubjectPublicKeyInfo, by the private key; how people tell keys apart. */
export function keySha256(key: string): string {
  return createHash("sha256")
    .update(createPublicKey(createPrivateKey(key)).export({ type: "spki", format: "der" }))
    .digest("hex");
}

function isKey(pem: string | undefined): boolean {
  try {
    return pem !== undefined && createPrivateKey(pem).type === "private";
  } catch {
    return false;
  }
}

function belongs(certificate: X509Certificate, key: string | undefined): boolean {
  try {
    return key !== undefined && certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}

/** The agent that a certificate names; undefined for one that names none, or several. */
function agentOf(certificate: X509Certificate): string | undefined {
  const uris = (certificate.subjectAltName ?? "").split(", ").filter((name) => name.startsWith("URI:"));
  return uris.length === 1 ? agentIdOfUri(uris[0]?.slice("URI:".length) ?? "") : undefined;
}

function refuse(why: string, cause?: unknown): never {
  throw new TransporterError("IDENTITY_REFUSED", why, { cause });
}

/** Checks that a certificate with this key is this agent's own. Throws IDENTITY_REFUSED, which says what of it does not fit. */
export function identityOf(
  agentId: string,
  parts: {
    readonly key: string;
    readonly certificate: string;
    readonly trust: string;
    readonly audience: string | undefined;
    readonly agentUrls: readonly string[];
    readonly renewAtMs: number | undefined;
  },
): Identity {
  const read = (what: string, pem: string): X509Certificate[] => {
    try {
      return certificatesOf(pem);
    } catch (error) {
      return refuse(`${what} cannot be read`, error);
    }
  };
  const [own] = read("the certificate", parts.certificate);
  if (own === undefined) return refuse("there is no certificate");
  if (read("what is to be trusted", parts.trust).length === 0) return refuse("there is no CA to trust");
  if (!belongs(own, parts.key)) return refuse("the certificate is of another key");
  const named = agentOf(own);
  if (named !== agentId)
    return refuse(
      `the certificate is of ${named === undefined ? "no agent" : `agent ${JSON.stringify(named)}`}, and this is ${JSON.stringify(agentId)}`,
    );
  return {
    ...parts,
    certificateSha256: own.fingerprint256.replaceAll(":", "").toLowerCase(),
    expiresAtMs: own.validToDate.getTime(),
  };
}

function aboutOf(text: string | undefined): v.InferOutput<typeof AboutSchema> | undefined {
  try {
    const parsed = v.safeParse(AboutSchema, JSON.parse(text ?? ""));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

/** Reads what was kept. Throws IDENTITY_REFUSED where it is damaged or another agent's. */
export function readIdentity(agentId: string, texts: FileTexts): Kept {
  const nextKey = isKey(texts["next-key.pem"]) ? texts["next-key.pem"] : undefined;
  const certificate = texts["certificate.pem"];
  if (certificate === undefined) return { identity: foreignIdentity(agentId, texts), nextKey, promoted: false };
  const about = aboutOf(texts["identity.json"]);
  if (about === undefined) throw new TransporterError("IDENTITY_REFUSED", "identity.json is missing or damaged");
  const own = certificatesOf(certificate)[0];
  const promoted = own !== undefined && !belongs(own, texts["key.pem"]) && belongs(own, nextKey);
  const identity = identityOf(agentId, {
    key: (promoted ? nextKey : texts["key.pem"]) ?? "",
    certificate,
    trust: texts["trust.pem"] ?? "",
    audience: about.audience,
    agentUrls: about.agent_urls,
    renewAtMs: about.renew_at_ms,
  });
  return { identity, nextKey: promoted ? undefined : nextKey, promoted };
}

/** One that somebody else issues and renews, as a Secret of the type kubernetes.io/tls has it. */
function foreignIdentity(agentId: string, texts: FileTexts): Identity | undefined {
  const { "tls.crt": certificate, "tls.key": key, "ca.crt": trust } = texts;
  if (certificate === undefined || key === undefined) return undefined;
  return identityOf(agentId, { key, certificate, trust: trust ?? "", audience: undefined, agentUrls: [], renewAtMs: undefined });
}

/**
 * What is to be written for a new identity whose key lies in `next-key.pem`. In this order: the certificate makes it count, and after a crash
 * right behind it the key is found under either name.
 */
export function filesOf(agentId: string, identity: Identity & { readonly audience: string }, receivedAtMs: number): readonly FileChange[] {
  const about: v.InferOutput<typeof AboutSchema> = {
    version: 1,
    agent_id: agentId,
    audience: identity.audience,
    agent_urls: [...identity.agentUrls],
    received_at_ms: receivedAtMs,
    renew_at_ms: identity.renewAtMs ?? identity.expiresAtMs,
  };
  return [
    ["trust.pem", identity.trust],
    ["identity.json", `${JSON.stringify(about, null, 2)}\n`],
    ["certificate.pem", identity.certificate],
    ["key.pem", identity.key],
    ["next-key.pem", null],
  ];
}

/**
 * When a certificate that has just come is to be renewed: at two thirds of the time that is left of it, somewhat before or after, so that
 * agents that were enrolled together do not come together. By the agent's own clock, which may be wrong: where the certificate seems to have
 * run out already, it is its whole lifetime that counts.
 */
export function renewalTime(certificate: string, nowMs: number, random: number): number {
  const [own] = certificatesOf(certificate);
  const from = own?.validFromDate.getTime() ?? nowMs;
  const until = own?.validToDate.getTime() ?? nowMs;
  const left = until - nowMs;
  const lifetimeMs = left > 0 ? Math.min(left, until - from) : until - from;
  return nowMs + lifetimeMs * (0.62 + 0.09 * random);
}
