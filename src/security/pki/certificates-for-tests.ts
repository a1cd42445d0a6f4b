import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, webcrypto } from "node:crypto";
import { isIP } from "node:net";
import { type Certificate, CLIENT_AUTH, readCertificates } from "./certificate.ts";

/** Certificates, revocation lists and requests of every kind, good and bad, for tests. Nothing here is used by the program itself. */
export interface Made {
  readonly certificate: Certificate;
  readonly pem: string;
  readonly keyPem: string;
}

export type KeyKind = "p256" | "p384" | "p521" | "p224" | "rsa2048" | "rsa1024" | "ed25519" | "x25519";

const CURVES = { p256: "prime256v1", p384: "secp384r1", p521: "secp521r1", p224: "secp224r1" } as const;

export function keyOf(kind: KeyKind): string {
  const export_ = { type: "pkcs8", format: "pem" } as const;
  if (kind === "ed25519") return generateKeyPairSync("ed25519").privateKey.export(export_);
  if (kind === "x25519") return generateKeyPairSync("x25519").privateKey.export(export_);
  if (kind === "rsa2048" || kind === "rsa1024")
    return generateKeyPairSync("rsa", { modulusLength: kind === "rsa2048" ? 2048 : 1024 }).privateKey.export(export_);
  return generateKeyPairSync("ec", { namedCurve: CURVES[kind] }).privateKey.export(export_);
}

const KEY_USAGE = { digitalSignature: 0x80, keyEncipherment: 0x20, keyCertSign: 0x04, cRLSign: 0x02 } as const;

/** DER wants the bits at the end that are not set left out. */
function keyUsageBits(usages: readonly (keyof typeof KEY_USAGE)[]): Uint8Array {
  const bits = usages.reduce((sum, usage) => sum | KEY_USAGE[usage], 0);
  if (bits === 0) return Uint8Array.of(0x03, 0x01, 0x00);
  let unused = 0;
  while (((bits >> unused) & 1) === 0) unused += 1;
  return Uint8Array.of(0x03, 0x02, unused, bits);
}

export interface Wanted {
  /** Signs itself when absent. */
  readonly by?: Made;
  /** A kind of key, or a private key (PEM) that is there already. */
  readonly key?: KeyKind | { readonly pem: string };
  readonly name?: string;
  /** Attributes of the subject in order, instead of `name`: `["CN", "alice"]`. */
  readonly subject?: readonly (readonly [string, string])[];
  readonly fromMs: number;
  readonly untilMs: number;
  /** True: without a limit; a number: its path length. */
  readonly ca?: boolean | number;
  readonly usages?: readonly string[];
  readonly keyUsage?: readonly (keyof typeof KEY_USAGE)[];
  readonly uris?: readonly string[];
  readonly names?: readonly string[];
  readonly extra?: readonly { readonly oid: string; readonly critical: boolean; readonly value?: Uint8Array }[];
  readonly hash?: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512";
  /** Hex. */
  readonly serial?: string;
}

async function library() {
  await import("reflect-metadata");
  return import("@peculiar/x509");
}

async function signer(keyPem: string, hash: string) {
  const key = createPrivateKey(keyPem);
  const curve = { prime256v1: "P-256", secp384r1: "P-384", secp521r1: "P-521" }[key.asymmetricKeyDetails?.namedCurve ?? ""];
  const importing =
    key.asymmetricKeyType === "rsa"
      ? { name: "RSASSA-PKCS1-v1_5", hash }
      : key.asymmetricKeyType === "ed25519"
        ? { name: "Ed25519" }
        : { name: "ECDSA", namedCurve: curve ?? "P-256" };
  const imported = await webcrypto.subtle.importKey("pkcs8", key.export({ type: "pkcs8", format: "der" }), importing, false, ["sign"]);
  return { key: imported, algorithm: { ...importing, hash } };
}

export async function makeCertificate(wanted: Wanted): Promise<Made> {
  const lib = await library();
  const { by, key = "p256", name = `test ${randomBytes(4).toString("hex")}`, ca = false, hash = "SHA-256" } = wanted;
  const keyPem = typeof key === "string" ? keyOf(key) : key.pem;
  const { key: signingKey, algorithm } = await signer(by?.keyPem ?? keyPem, hash);
  const issuer = by === undefined ? undefined : new lib.X509Certificate(by.certificate.x509.raw);
  const publicKey = new lib.PublicKey(createPublicKey(createPrivateKey(keyPem)).export({ type: "spki", format: "der" }));
  const subject = (wanted.subject ?? [["CN", name]]).map(([attribute, value]) => ({ [attribute]: [value] }));
  const { usages, uris = [], names = [], extra = [] } = wanted;
  const alternatives = [
    ...uris.map((value) => ({ type: "url" as const, value })),
    ...names.map((value) => ({ type: isIP(value) === 0 ? ("dns" as const) : ("ip" as const), value })),
  ];
  const issued = await lib.X509CertificateGenerator.create({
    serialNumber: wanted.serial ?? `40${randomBytes(8).toString("hex")}`,
    subject,
    issuer: issuer === undefined ? subject : issuer.subjectName,
    notBefore: new Date(wanted.fromMs),
    notAfter: new Date(wanted.untilMs),
    publicKey,
    signingKey,
    signingAlgorithm: algorithm,
    extensions: [
      ...(ca === false ? [] : [new lib.BasicConstraintsExtension(true, ca === true ? undefined : ca, true)]),
      ...(wanted.keyUsage === undefined ? [] : [new lib.Extension("2.5.29.15", true, keyUsageBits(wanted.keyUsage))]),
      ...(usages === undefined ? [] : [new lib.ExtendedKeyUsageExtension([...usages])]),
      ...(alternatives.length === 0 ? [] : [new lib.SubjectAlternativeNameExtension(alternatives)]),
      ...extra.map(({ oid, critical, value = Uint8Array.of(0x05, 0x00) }) => new lib.Extension(oid, critical, value)),
    ],
  });
  const pem = `${issued.toString("pem")}\n`;
  const [certificate] = readCertificates(pem) ?? [];
  if (certificate === undefined) throw new Error("the certificate that was made cannot be read");
  return { certificate, pem, keyPem };
}

/** A CA, and what a good agent's certificate of it has; tests change what they are about. */
export function makeTestCa(nowMs: number, wanted: Partial<Wanted> = {}): Promise<Made> {
  return makeCertificate({ fromMs: nowMs - 1000, untilMs: nowMs + 3_600_000, ca: true, keyUsage: ["keyCertSign", "cRLSign"], ...wanted });
}

export function makeTestAgent(by: Made, agentId: string, nowMs: number, wanted: Partial<Wanted> = {}): Promise<Made> {
  return makeCertificate({
    by,
    fromMs: nowMs - 1000,
    untilMs: nowMs + 60_000,
    keyUsage: ["digitalSignature"],
    usages: [CLIENT_AUTH],
    uris: [`transporter://agent/${encodeURIComponent(agentId)}`],
    ...wanted,
  });
}

export async function makeCrl(
  by: Made,
  of: {
    readonly serials: readonly string[];
    readonly fromMs: number;
    readonly nextUpdateMs?: number;
    readonly extra?: readonly { readonly oid: string; readonly critical: boolean }[];
    readonly entryExtra?: readonly { readonly oid: string; readonly critical: boolean }[];
  },
): Promise<string> {
  const lib = await library();
  const { key, algorithm } = await signer(by.keyPem, "SHA-256");
  const made = ({ oid, critical }: { readonly oid: string; readonly critical: boolean }) =>
    new lib.Extension(oid, critical, Uint8Array.of(0x05, 0x00));
  const crl = await lib.X509CrlGenerator.create({
    issuer: by.certificate.x509.subject.replaceAll("\n", ", "),
    thisUpdate: new Date(of.fromMs),
    ...(of.nextUpdateMs === undefined ? {} : { nextUpdate: new Date(of.nextUpdateMs) }),
    entries: of.serials.map((serialNumber) => ({
      serialNumber,
      revocationDate: new Date(of.fromMs),
      ...(of.entryExtra === undefined ? {} : { extensions: of.entryExtra.map(made) }),
    })),
    ...(of.extra === undefined ? {} : { extensions: of.extra.map(made) }),
    signingKey: key,
    signingAlgorithm: algorithm,
  });
  // Its label is an older one.
  return `${crl.toString("pem").replaceAll(" CRL-----", " X509 CRL-----")}\n`;
}

/** A request by any kind of key; `signedBy` another key than its own. */
export async function makeAnyCsr(keyPem: string, signedBy: string = keyPem, hash = "SHA-256"): Promise<string> {
  const lib = await library();
  const { key, algorithm } = await signer(signedBy, hash);
  const { key: ownKey } = { key: createPrivateKey(keyPem) };
  const spki = createPublicKey(ownKey).export({ type: "spki", format: "der" });
  const importing = algorithm.name === "ECDSA" || algorithm.name === "Ed25519" ? algorithm : { name: algorithm.name, hash };
  const publicKey = await webcrypto.subtle.importKey("spki", spki, importing, true, ["verify"]);
  const request = await lib.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: ["anybody"] }],
    keys: { privateKey: key, publicKey },
    signingAlgorithm: algorithm,
  });
  return `${request.toString("pem")}\n`;
}
