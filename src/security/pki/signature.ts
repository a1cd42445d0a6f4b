import { type KeyObject, createPrivateKey, sign, verify } from "node:crypto";
import { sha256Hex } from "../token-format.ts";

/** Signatures that are taken, by object identifier, with their digest. What is not here (SHA-1, MD5, RSA-PSS with who knows what) is not. */
const ALGORITHMS: ReadonlyMap<string, { readonly key: string; readonly digest: string | undefined }> = new Map([
  ["1.2.840.10045.4.3.2", { key: "ec", digest: "sha256" }],
  ["1.2.840.10045.4.3.3", { key: "ec", digest: "sha384" }],
  ["1.2.840.10045.4.3.4", { key: "ec", digest: "sha512" }],
  ["1.2.840.113549.1.1.11", { key: "rsa", digest: "sha256" }],
  ["1.2.840.113549.1.1.12", { key: "rsa", digest: "sha384" }],
  ["1.2.840.113549.1.1.13", { key: "rsa", digest: "sha512" }],
  ["1.3.101.112", { key: "ed25519", digest: undefined }],
]);

export function isKnownSignature(algorithm: string): boolean {
  return ALGORITHMS.has(algorithm);
}

/** Whether `signature` over `bytes` is of this key, by an algorithm that is taken. */
export function verifySigned(algorithm: string, bytes: Uint8Array, signature: Uint8Array, publicKey: KeyObject): boolean {
  const known = ALGORITHMS.get(algorithm);
  if (known === undefined || publicKey.asymmetricKeyType !== known.key) return false;
  try {
    return verify(known.digest, bytes, publicKey, signature);
  } catch {
    return false;
  }
}

const CURVES: ReadonlySet<string> = new Set(["prime256v1", "secp384r1"]);
/** Of CAs, whose curve somebody else chose. */
const CA_CURVES: ReadonlySet<string> = new Set([...CURVES, "secp521r1"]);

/** What is wrong with a key; undefined where it is strong enough. */
export function keyProblem(key: KeyObject, of: "anybody" | "ca" = "anybody"): string | undefined {
  const details = key.asymmetricKeyDetails;
  switch (key.asymmetricKeyType) {
    case "ed25519":
      return undefined;
    case "ec": {
      const curve = details?.namedCurve ?? "";
      return (of === "ca" ? CA_CURVES : CURVES).has(curve) ? undefined : `its curve ${JSON.stringify(curve)} is neither P-256 nor P-384`;
    }
    case "rsa":
      return (details?.modulusLength ?? 0) >= 2048 ? undefined : `its RSA key has ${details?.modulusLength ?? 0} bits, less than 2048`;
    default:
      return `its key is of the kind ${JSON.stringify(key.asymmetricKeyType ?? "")}`;
  }
}

/** Hex SHA-256 of a key's SubjectPublicKeyInfo: its name wherever keys are compared. */
export function keySha256(key: KeyObject): string {
  return sha256Hex(key.export({ type: "spki", format: "der" }));
}

const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/**
 * Whether `signature` (Base64) over a text is of this key: ECDSA with SHA-256, DER; Ed25519; RSA PKCS#1 v1.5 with SHA-256. False also for
 * a key that is not strong enough, and for what is no Base64.
 */
export function verifyText(text: string, signature: string, publicKey: KeyObject): boolean {
  if (keyProblem(publicKey) !== undefined) return false;
  if (signature.length % 4 !== 0 || !BASE64.test(signature)) return false;
  try {
    const digest = publicKey.asymmetricKeyType === "ed25519" ? undefined : "sha256";
    return verify(digest, Buffer.from(text, "utf8"), publicKey, Buffer.from(signature, "base64"));
  } catch {
    return false;
  }
}

/** Signs a text with a private key (PEM) the way `verifyText` reads it; Base64. */
export function signText(text: string, privateKeyPem: string): string {
  const key = createPrivateKey(privateKeyPem);
  return sign(key.asymmetricKeyType === "ed25519" ? undefined : "sha256", Buffer.from(text, "utf8"), key).toString("base64");
}
