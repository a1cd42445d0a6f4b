import { type KeyObject, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import { TransporterError } from "../../kit/mod.ts";
import { TAG, childrenOf, encode, expectTag, signedParts } from "./der.ts";
import { sha256Hex } from "../token-format.ts";
import { keyProblem, keySha256, verifySigned } from "./signature.ts";

/** What counts of a certificate request: its key, and that whoever asks has it. */
export interface CertificateRequest {
  readonly publicKey: KeyObject;
  /** Hex, of the key's SubjectPublicKeyInfo. */
  readonly keySha256: string;
  /** Hex, of the request's DER. */
  readonly sha256: string;
}

/** RSA of 8192 bits with attributes needs less. */
const MAX_CSR_CHARS = 16_384;
const CSR = /^\s*-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END (?:NEW )?CERTIFICATE REQUEST-----\s*$/;

function invalid(message: string, cause?: unknown): TransporterError {
  return new TransporterError("INVALID_CSR", `the certificate request cannot be used: ${message}`, { cause });
}

/** The DER of a request's PEM; throws INVALID_CSR. */
function derOf(pem: string): Uint8Array {
  if (pem.length > MAX_CSR_CHARS) throw invalid(`it has more than ${MAX_CSR_CHARS} characters`);
  const body = CSR.exec(pem)?.[1];
  if (body === undefined) throw invalid("it is not one PEM block of a certificate request");
  return Buffer.from(body.replace(/\s/g, ""), "base64");
}

/** Reads a certificate request (PKCS#10, PEM). Throws INVALID_CSR where it is damaged, not signed by its own key, or the key is too weak. */
export function readCsr(pem: string): CertificateRequest {
  const bytes = derOf(pem);
  let publicKey: KeyObject;
  let signedByItself: boolean;
  try {
    const signed = signedParts(bytes);
    const [, , spki] = childrenOf(bytes, signed.body);
    const { start, to } = expectTag(spki, TAG.sequence);
    publicKey = createPublicKey({ key: Buffer.from(bytes.subarray(start, to)), format: "der", type: "spki" });
    signedByItself = verifySigned(signed.algorithm, signed.bodyBytes, signed.signature, publicKey);
  } catch (error) {
    throw invalid("it is damaged", error);
  }
  const weak = keyProblem(publicKey);
  if (weak !== undefined) throw invalid(weak);
  if (!signedByItself) throw invalid("it is not signed by its own key");
  return { publicKey, keySha256: keySha256(publicKey), sha256: sha256Hex(bytes) };
}

/** Hex SHA-256 of a request's DER, for `renewalStatement`. */
export function csrSha256(pem: string): string {
  return sha256Hex(derOf(pem));
}

/** A new P-256 key, PEM (PKCS#8). */
export function makeKey(): string {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return privateKey.export({ type: "pkcs8", format: "pem" });
}

const ECDSA_SHA256 = Uint8Array.from([0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]);

/**
 * A certificate request for a P-256 key, PEM. Without a subject, as only its key counts; made by hand, so that an agent needs no library
 * for it.
 */
export function makeCsr(privateKeyPem: string): string {
  const key = createPrivateKey(privateKeyPem);
  if (key.asymmetricKeyDetails?.namedCurve !== "prime256v1") throw invalid("its key is not of the curve P-256");
  const spki = createPublicKey(key).export({ type: "spki", format: "der" });
  const body = encode(TAG.sequence, encode(TAG.integer, Uint8Array.of(0)), encode(TAG.sequence), spki, encode(0xa0));
  const signature = sign("sha256", body, key);
  const der = encode(TAG.sequence, body, encode(TAG.sequence, ECDSA_SHA256), encode(TAG.bitString, Uint8Array.of(0), signature));
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join("\n")}\n-----END CERTIFICATE REQUEST-----\n`;
}
