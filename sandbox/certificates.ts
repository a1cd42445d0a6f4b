import { createPublicKey, createSign, generateKeyPairSync, randomBytes } from "node:crypto";

/** What X.509 needs of DER: a tag, a length, the content. Source: ITU-T X.690, section 8. */
function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  if (body.length < 128) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const length = Buffer.from(body.length.toString(16).padStart(body.length < 256 ? 2 : 4, "0"), "hex");
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length]), length, body]);
}

const sequence = (...items: readonly Uint8Array[]): Buffer => der(0x30, ...items);
const integer = (bytes: Uint8Array): Buffer => der(0x02, bytes);
const objectId = (hex: string): Buffer => der(0x06, Buffer.from(hex, "hex"));

const ECDSA_WITH_SHA256 = sequence(objectId("2a8648ce3d040302"));
const COMMON_NAME = "550403";
const ORGANISATION = "55040a";
const BASIC_CONSTRAINTS = "551d13";
const KEY_USAGE = "551d0f";
const EXTENDED_KEY_USAGE = "551d25";
const SUBJECT_ALTERNATIVE_NAME = "551d11";
const CLIENT_AUTH = "2b06010505070302";
const SERVER_AUTH = "2b06010505070301";
const TRUE = der(0x01, Buffer.from([0xff]));

/** GeneralizedTime would do for every year; RFC 5280 wants UTCTime until 2049. */
function utcTime(timeMs: number): Buffer {
  const text = new Date(timeMs).toISOString().replaceAll(/[-:T]/g, "").slice(2, 14);
  return der(0x17, Buffer.from(`${text}Z`));
}

function distinguishedName(commonName: string, organisations: readonly string[] = []): Buffer {
  const part = (type: string, value: string): Buffer => der(0x31, sequence(objectId(type), der(0x0c, Buffer.from(value))));
  return sequence(...organisations.map((one) => part(ORGANISATION, one)), part(COMMON_NAME, commonName));
}

function extension(id: string, value: Buffer, critical: boolean): Buffer {
  return sequence(objectId(id), ...(critical ? [TRUE] : []), der(0x04, value));
}

function pem(label: string, bytes: Buffer): string {
  return `-----BEGIN ${label}-----\n${bytes.toString("base64").replaceAll(/(.{64})(?!$)/g, "$1\n")}\n-----END ${label}-----\n`;
}

export interface Certified {
  readonly certificatePem: string;
  readonly keyPem: string;
}

interface Subject {
  readonly name: Buffer;
  readonly extensions: readonly Buffer[];
  readonly validForMs: number;
}

/** A P-256 certificate, signed by the issuer's key, or by its own when there is no issuer. Source: RFC 5280, section 4.1. */
function certify(subject: Subject, issuer?: { readonly name: Buffer; readonly keyPem: string }): Certified {
  const pair = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  const now = Date.now();
  const serial = Buffer.concat([Buffer.from([1]), randomBytes(15)]);
  const toSign = sequence(
    der(0xa0, integer(Buffer.from([2]))),
    integer(serial),
    ECDSA_WITH_SHA256,
    (issuer ?? subject).name,
    // Valid since a minute ago, so that a certificate that is to be expired can be made with a negative duration.
    sequence(utcTime(Math.min(now, now + subject.validForMs) - 60_000), utcTime(now + subject.validForMs)),
    subject.name,
    createPublicKey(pair.publicKey).export({ type: "spki", format: "der" }),
    der(0xa3, sequence(...subject.extensions)),
  );
  const signature = createSign("sha256")
    .update(toSign)
    .sign(issuer?.keyPem ?? pair.privateKey);
  const certificate = sequence(toSign, ECDSA_WITH_SHA256, der(0x03, Buffer.from([0]), signature));
  return { certificatePem: pem("CERTIFICATE", certificate), keyPem: pair.privateKey };
}

const DAY_MS = 86_400_000;

/** Signs certificates for as long as one sandbox lives. */
export class ClientAuthority {
  readonly #name = distinguishedName("transporter-sandbox-clients");
  readonly #self = certify({
    name: this.#name,
    extensions: [extension(BASIC_CONSTRAINTS, sequence(TRUE), true), extension(KEY_USAGE, der(0x03, Buffer.from([2, 0x04])), true)],
    validForMs: DAY_MS,
  });

  get certificatePem(): string {
    return this.#self.certificatePem;
  }

  /** For a Kubernetes user of this name in these groups; expired already when `validForMs` is negative. */
  issue(user: string, groups: readonly string[] = [], validForMs = DAY_MS): Certified {
    return this.#issue(
      distinguishedName(user, groups),
      [extension(EXTENDED_KEY_USAGE, sequence(objectId(CLIENT_AUTH)), false)],
      validForMs,
    );
  }

  /** For a server that is asked for by these names and IPv4 addresses. */
  issueServer(names: readonly string[], addresses: readonly string[]): Certified {
    const alternatives = sequence(
      ...names.map((name) => der(0x82, Buffer.from(name))),
      ...addresses.map((address) => der(0x87, Buffer.from(address.split(".").map(Number)))),
    );
    return this.#issue(distinguishedName(names[0] ?? addresses[0] ?? ""), [
      extension(EXTENDED_KEY_USAGE, sequence(objectId(SERVER_AUTH)), false),
      extension(SUBJECT_ALTERNATIVE_NAME, alternatives, false),
    ]);
  }

  #issue(name: Buffer, extensions: readonly Buffer[], validForMs = DAY_MS): Certified {
    const subject = { name, extensions: [extension(KEY_USAGE, der(0x03, Buffer.from([7, 0x80])), true), ...extensions], validForMs };
    return certify(subject, { name: this.#name, keyPem: this.#self.keyPem });
  }
}
