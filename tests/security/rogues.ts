import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign, X509Certificate } from "node:crypto";
import { join } from "node:path";
import { makeKey, readCertificates } from "../../src/security/mod.ts";
import { childrenOf, encode, TAG, wholeElement } from "../../src/security/pki/der.ts";
import { type Issuer, issueAgent, issueServer, makeCa } from "../../src/security/pki/issue.ts";

export interface RogueOptions {
  readonly agentId: string;
  readonly key?: string;
  readonly nowMs?: number;
  readonly ttlMs?: number;
  readonly usage?: "client" | "server";
  /** By a CA that nobody trusts. */
  readonly otherCa?: boolean;
}

/** The CA of a security directory, as whoever has its key has it. */
export async function issuerOf(directory: string): Promise<Issuer> {
  const [certificate] = readCertificates(await Bun.file(join(directory, "ca.crt")).text(), 1) ?? [];
  if (certificate === undefined) throw new Error(`${directory} has no CA`);
  return { certificate, key: createPrivateKey(await Bun.file(join(directory, "ca.key")).text()), chain: [] };
}

/** A certificate that no enrolment made, PEM. */
export async function agentCertificate(directory: string, of: RogueOptions): Promise<string> {
  const nowMs = of.nowMs ?? Date.now();
  const by = of.otherCa === true ? (await makeCa(nowMs)).issuer : await issuerOf(directory);
  const publicKey = createPublicKey(createPrivateKey(of.key ?? makeKey()));
  const ttlMs = of.ttlMs ?? 3_600_000;
  const issued =
    of.usage === "server"
      ? await issueServer(by, { publicKey, names: ["127.0.0.1"], nowMs, ttlMs })
      : await issueAgent(by, { publicKey, agentId: of.agentId, nowMs, ttlMs });
  return issued.pem;
}

/** The same certificate with a serial number of its own, signed anew by whoever has `key` (P-256): a thousand of them take no time. */
export function withNewSerial(certificatePem: string, key: KeyObject): string {
  const { raw, serialNumber } = new X509Certificate(certificatePem);
  const [body, algorithm] = childrenOf(raw, wholeElement(raw, TAG.sequence));
  if (body === undefined || algorithm === undefined) throw new Error("that is no certificate");
  const content = Buffer.from(raw.subarray(body.start, body.to));
  const serial = randomBytes(serialNumber.length / 2);
  serial[0] = 0x40;
  serial.copy(content, content.indexOf(Buffer.from(serialNumber, "hex")));
  const signature = encode(TAG.bitString, Uint8Array.of(0), sign("sha256", content, key));
  const der = encode(TAG.sequence, content, raw.subarray(algorithm.start, algorithm.to), signature);
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
