import { type KeyObject, createPrivateKey, createPublicKey, randomBytes, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import type * as X509 from "@peculiar/x509";
import { TransporterError } from "../../kit/mod.ts";
import { agentUri } from "../../protocol/mod.ts";
import { type Certificate, CLIENT_AUTH, SERVER_AUTH, readCertificates } from "./certificate.ts";
import { makeKey } from "./csr.ts";

/** Loaded where something is issued, and nowhere else: it is heavy. */
async function library(): Promise<typeof X509> {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

/** Clocks differ: what is issued counts from a little before. */
const BACKDATE_MS = 5 * 60_000;
const DAY_MS = 86_400_000;
export const CA_TTL_MS = 3_650 * DAY_MS;
export const SERVER_TTL_MS = 397 * DAY_MS;

/** A CA that can issue. */
export interface Issuer {
  readonly certificate: Certificate;
  readonly key: KeyObject;
  /** What leads from it to what is trusted, PEM; goes along with each certificate that it issues. */
  readonly chain: readonly string[];
}

interface SigningKey {
  readonly key: CryptoKey;
  readonly algorithm: { readonly name: string; readonly hash: string };
}

async function signingKey(key: KeyObject): Promise<SigningKey> {
  const der = key.export({ type: "pkcs8", format: "der" });
  const use = async (importing: Parameters<typeof webcrypto.subtle.importKey>[2], name: string, hash: string): Promise<SigningKey> => ({
    key: await webcrypto.subtle.importKey("pkcs8", der, importing, false, ["sign"]),
    algorithm: { name, hash },
  });
  switch (key.asymmetricKeyType) {
    case "rsa":
      return use({ name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, "RSASSA-PKCS1-v1_5", "SHA-256");
    case "ed25519":
      return use({ name: "Ed25519" }, "Ed25519", "SHA-512");
    case "ec": {
      const curves: Readonly<Record<string, readonly [string, string]>> = {
        prime256v1: ["P-256", "SHA-256"],
        secp384r1: ["P-384", "SHA-384"],
        secp521r1: ["P-521", "SHA-512"],
      };
      const [namedCurve, hash = ""] = curves[key.asymmetricKeyDetails?.namedCurve ?? ""] ?? [];
      if (namedCurve !== undefined) return use({ name: "ECDSA", namedCurve }, "ECDSA", hash);
      break;
    }
    default:
  }
  throw new TransporterError("CONFIG_INVALID", `the CA's key is of a kind that cannot sign here (${key.asymmetricKeyType ?? "unknown"})`, {
    remedy: "Use ECDSA P-256, P-384 or P-521, Ed25519, or RSA.",
  });
}

/** 127 random bits, never zero and never negative. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

interface Content {
  readonly name: string;
  readonly publicKey: KeyObject;
  readonly ttlMs: number;
  readonly nowMs: number;
  readonly extensions: (lib: typeof X509) => readonly X509.Extension[];
}

async function issue(content: Content, by: { readonly certificate: Certificate | undefined; readonly key: KeyObject }): Promise<string> {
  const lib = await library();
  const { key, algorithm } = await signingKey(by.key);
  const issuer = by.certificate === undefined ? undefined : new lib.X509Certificate(by.certificate.x509.raw);
  const spki = new lib.PublicKey(content.publicKey.export({ type: "spki", format: "der" }));
  const subject = [{ CN: [content.name] }];
  // Whole seconds, as certificates have them: a certificate must not count before its CA, nor after it.
  const from = Math.max(content.nowMs - BACKDATE_MS, by.certificate?.notBeforeMs ?? 0);
  const until = Math.min(content.nowMs + content.ttlMs, by.certificate?.notAfterMs ?? Number.POSITIVE_INFINITY);
  const issued = await lib.X509CertificateGenerator.create({
    serialNumber: newSerial(),
    subject,
    issuer: issuer === undefined ? subject : issuer.subjectName,
    notBefore: new Date(Math.floor(from / 1000) * 1000),
    notAfter: new Date(Math.floor(until / 1000) * 1000),
    publicKey: spki,
    signingKey: key,
    signingAlgorithm: algorithm,
    extensions: [
      ...content.extensions(lib),
      await lib.SubjectKeyIdentifierExtension.create(spki),
      await lib.AuthorityKeyIdentifierExtension.create(issuer === undefined ? spki : issuer.publicKey),
    ],
  });
  return `${issued.toString("pem")}\n`;
}

function parsed(pem: string): Certificate {
  const [certificate] = readCertificates(pem, 1) ?? [];
  if (certificate === undefined) throw new TransporterError("INTERNAL", "a certificate that was issued cannot be read");
  return certificate;
}

function caExtensions(pathLength: number) {
  return (lib: typeof X509): readonly X509.Extension[] => [
    new lib.BasicConstraintsExtension(true, pathLength, true),
    new lib.KeyUsagesExtension(lib.KeyUsageFlags.keyCertSign | lib.KeyUsageFlags.cRLSign, true),
  ];
}

/** A new CA with a P-256 key. Its name has something random in it: two of one name would be taken for each other. */
export async function makeCa(nowMs: number): Promise<{ readonly issuer: Issuer; readonly keyPem: string }> {
  const keyPem = makeKey();
  const key = createPrivateKey(keyPem);
  const name = `Transporter CA ${randomBytes(4).toString("hex")}`;
  // One CA may stand below it: its successor, while both are trusted.
  const pem = await issue(
    { name, publicKey: createPublicKey(key), ttlMs: CA_TTL_MS, nowMs, extensions: caExtensions(1) },
    { certificate: undefined, key },
  );
  return { issuer: { certificate: parsed(pem), key, chain: [] }, keyPem };
}

/** The new CA's name and key, signed by the old one: leads those who trust only the old one to what the new one issued. */
export async function crossSign(successor: Certificate, by: Issuer, nowMs: number): Promise<string> {
  const name = /^CN=(.+)$/m.exec(successor.x509.subject)?.[1];
  if (name === undefined) throw new TransporterError("CONFIG_INVALID", "the new CA has no name (CN)");
  const ttlMs = successor.notAfterMs - nowMs;
  return issue({ name, publicKey: successor.publicKey, ttlMs, nowMs, extensions: caExtensions(0) }, by);
}

/** A certificate for a server of these DNS names and IP addresses. */
export async function issueServer(
  by: Issuer,
  of: { readonly publicKey: KeyObject; readonly names: readonly string[]; readonly nowMs: number; readonly ttlMs?: number },
): Promise<Certificate> {
  const pem = await issue(
    {
      name: "transporter",
      publicKey: of.publicKey,
      ttlMs: of.ttlMs ?? SERVER_TTL_MS,
      nowMs: of.nowMs,
      extensions: (lib) => [
        new lib.BasicConstraintsExtension(false, undefined, true),
        new lib.KeyUsagesExtension(lib.KeyUsageFlags.digitalSignature, true),
        new lib.ExtendedKeyUsageExtension([SERVER_AUTH]),
        new lib.SubjectAlternativeNameExtension(of.names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }))),
      ],
    },
    by,
  );
  return parsed(pem);
}

/** An agent's certificate: its id stands in the one URI of it, and it is good for nothing but being a client. */
export async function issueAgent(
  by: Issuer,
  of: { readonly publicKey: KeyObject; readonly agentId: string; readonly nowMs: number; readonly ttlMs: number },
): Promise<Certificate> {
  const pem = await issue(
    {
      name: "transporter agent",
      publicKey: of.publicKey,
      ttlMs: of.ttlMs,
      nowMs: of.nowMs,
      extensions: (lib) => [
        new lib.BasicConstraintsExtension(false, undefined, true),
        new lib.KeyUsagesExtension(lib.KeyUsageFlags.digitalSignature, true),
        new lib.ExtendedKeyUsageExtension([CLIENT_AUTH]),
        new lib.SubjectAlternativeNameExtension([{ type: "url", value: agentUri(of.agentId) }]),
      ],
    },
    by,
  );
  return parsed(pem);
}
