import { type KeyObject, X509Certificate } from "node:crypto";
import { DerFault, TAG, childrenOf, expectTag, integerHex, oidText, serialText, signedParts, wholeElement, type Element } from "./der.ts";
import { sha256Hex } from "../token-format.ts";
import { keySha256 } from "./signature.ts";

export const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
export const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";

/** A certificate with what is asked of it, read once. */
export interface Certificate {
  readonly x509: X509Certificate;
  readonly pem: string;
  /** Hex, of the DER. */
  readonly sha256: string;
  readonly publicKey: KeyObject;
  readonly keySha256: string;
  /** Hex of the DER: names are one when their bytes are. */
  readonly subject: string;
  readonly issuer: string;
  /** Lower-case hex without leading zeros. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly selfSigned: boolean;
  /** Object identifier of how it is signed. */
  readonly signatureAlgorithm: string;
  /** By basicConstraints. */
  readonly ca: boolean;
  /** How many CAs may stand between it and the end; undefined: any number. */
  readonly pathLength: number | undefined;
  /** What its key may be used for; undefined where it does not say. */
  readonly keyUsage: { readonly digitalSignature: boolean; readonly certSign: boolean; readonly crlSign: boolean } | undefined;
  /** Object identifiers; undefined where it does not say. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** URIs of the subjectAltName. */
  readonly uris: readonly string[];
  /** DNS names and IP addresses of the subjectAltName. */
  readonly names: readonly string[];
  /** Object identifiers of critical extensions that nobody here understands: whoever has one must not be believed. */
  readonly unknownCritical: readonly string[];
}

const EXTENSION = {
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  extendedKeyUsage: "2.5.29.37",
} as const;
const UNDERSTOOD: ReadonlySet<string> = new Set(Object.values(EXTENSION));

export interface Extension {
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** Reads `Extensions`, a SEQUENCE; each may be there once. */
export function readExtensions(bytes: Uint8Array, list: Element): ReadonlyMap<string, Extension> {
  const found = new Map<string, Extension>();
  for (const entry of childrenOf(bytes, expectTag(list, TAG.sequence))) {
    const parts = childrenOf(bytes, expectTag(entry, TAG.sequence));
    const [oidPart, second] = parts;
    const oid = oidText(bytes, expectTag(oidPart, TAG.oid));
    const critical = second?.tag === TAG.boolean && bytes[second.from] !== 0;
    const value = expectTag(parts[second?.tag === TAG.boolean ? 2 : 1], TAG.octetString);
    if (found.has(oid)) throw new DerFault("an extension is there twice");
    found.set(oid, { oid, critical, value: bytes.subarray(value.from, value.to) });
  }
  return found;
}

function basicConstraints(value: Uint8Array | undefined): { readonly ca: boolean; readonly pathLength: number | undefined } {
  if (value === undefined) return { ca: false, pathLength: undefined };
  const parts = childrenOf(value, wholeElement(value, TAG.sequence));
  const [flag] = parts;
  const ca = flag?.tag === TAG.boolean && value[flag.from] !== 0;
  const length = parts.find((part) => part.tag === TAG.integer);
  return { ca, pathLength: length === undefined ? undefined : Number.parseInt(integerHex(value, length), 16) };
}

function keyUsage(value: Uint8Array | undefined): Certificate["keyUsage"] {
  if (value === undefined) return undefined;
  const bits = wholeElement(value, TAG.bitString);
  const first = value[bits.from + 1] ?? 0;
  return { digitalSignature: (first & 0x80) !== 0, certSign: (first & 0x04) !== 0, crlSign: (first & 0x02) !== 0 };
}

const NAME = { dns: 0x82, uri: 0x86, ip: 0x87 } as const;

function subjectAltName(value: Uint8Array | undefined): { readonly uris: readonly string[]; readonly names: readonly string[] } {
  const uris: string[] = [];
  const names: string[] = [];
  if (value === undefined) return { uris, names };
  for (const name of childrenOf(value, wholeElement(value, TAG.sequence))) {
    const content = Buffer.from(value.subarray(name.from, name.to));
    if (name.tag === NAME.uri) uris.push(content.toString("latin1"));
    if (name.tag === NAME.dns) names.push(content.toString("latin1"));
    if (name.tag === NAME.ip)
      names.push(content.length === 4 ? content.join(".") : (content.toString("hex").match(/.{4}/g) ?? []).join(":"));
  }
  return { uris, names };
}

function read(x509: X509Certificate): Certificate {
  const bytes: Uint8Array = x509.raw;
  const signed = signedParts(bytes);
  const body = childrenOf(bytes, signed.body);
  // Version 3, as all with extensions are, tells its version first; before it there is none.
  const at = body[0]?.tag === 0xa0 ? 3 : 2;
  const nameAt = (index: number): string => {
    const { start, to } = expectTag(body[index], TAG.sequence);
    return Buffer.from(bytes.subarray(start, to)).toString("hex");
  };
  const [issuer, subject] = [nameAt(at), nameAt(at + 2)];
  const list = body.find((part) => part.tag === 0xa3);
  const [inner] = list === undefined ? [] : childrenOf(bytes, list);
  const extensions: ReadonlyMap<string, Extension> = inner === undefined ? new Map() : readExtensions(bytes, inner);
  const usages = extensions.get(EXTENSION.extendedKeyUsage)?.value;
  const { publicKey } = x509;
  return {
    x509,
    pem: pemOf(x509),
    sha256: sha256Hex(bytes),
    publicKey,
    keySha256: keySha256(publicKey),
    subject,
    issuer,
    serial: serialText(x509.serialNumber),
    notBeforeMs: x509.validFromDate.getTime(),
    notAfterMs: x509.validToDate.getTime(),
    selfSigned: subject === issuer && x509.verify(publicKey),
    signatureAlgorithm: signed.algorithm,
    ...basicConstraints(extensions.get(EXTENSION.basicConstraints)?.value),
    keyUsage: keyUsage(extensions.get(EXTENSION.keyUsage)?.value),
    extendedKeyUsage:
      usages === undefined ? undefined : childrenOf(usages, wholeElement(usages, TAG.sequence)).map((usage) => oidText(usages, usage)),
    ...subjectAltName(extensions.get(EXTENSION.subjectAltName)?.value),
    unknownCritical: [...extensions.values()].filter(({ oid, critical }) => critical && !UNDERSTOOD.has(oid)).map(({ oid }) => oid),
  };
}

function pemOf(x509: X509Certificate): string {
  const lines = x509.raw.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

/** Whether a CA's key has signed a certificate in its name. Whether it may is another question. */
export function isIssuedBy(certificate: Certificate, ca: Certificate): boolean {
  return certificate.issuer === ca.subject && certificate.x509.verify(ca.publicKey);
}

const BLOCK = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----/g;

/** The certificates of a PEM text, in order; what is between them is left out. Undefined where one cannot be read or there are more than `max`. */
export function readCertificates(pem: string, max = 100): readonly Certificate[] | undefined {
  const blocks = pem.match(BLOCK) ?? [];
  // One that the pattern does not see must not be lost without a word.
  if (blocks.length > max || pem.split("-----BEGIN CERTIFICATE-----").length - 1 !== blocks.length) return undefined;
  try {
    return blocks.map((block) => read(new X509Certificate(block)));
  } catch {
    return undefined;
  }
}

/** `sha256:` and the hex digest of its key: how people and join lines name a CA. */
export function pinOf(certificate: Certificate): string {
  return `sha256:${certificate.keySha256}`;
}

/** `tls-server-end-point:` and the digest of the server's own certificate (RFC 5929). */
export function channelOf(certificate: Certificate): string {
  return `tls-server-end-point:${certificate.sha256}`;
}
