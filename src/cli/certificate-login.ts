import { X509Certificate, createHash, createPrivateKey, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Client, Credential } from "../client/mod.ts";
import { type Clock, TransporterError, messageOf } from "../kit/mod.ts";
import { loginStatement } from "../protocol/mod.ts";

/** A new token is had before the old one ends. */
const MARGIN_MS = 30_000;

export interface CertificateFiles {
  readonly certificateFile: string;
  readonly keyFile: string;
}

async function textOf(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `${flag} ${path}: ${messageOf(error)}`, { cause: error });
  }
}

async function ownCertificate(path: string): Promise<{ readonly pem: string; readonly certificate: X509Certificate }> {
  const pem = await textOf("--client-cert", path);
  try {
    return { pem, certificate: new X509Certificate(pem) };
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `--client-cert ${path}: holds no PEM certificate`, { cause: error });
  }
}

async function ownKey(path: string, certificate: X509Certificate): Promise<string> {
  let key: KeyObject;
  const pem = await textOf("--client-key", path);
  try {
    key = createPrivateKey(pem);
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `--client-key ${path}: holds no PEM key that can be used without a passphrase`, {
      cause: error,
    });
  }
  if (certificate.checkPrivateKey(key)) return pem;
  throw new TransporterError("CONFIG_INVALID", `--client-key ${path} is not the key of that certificate`, {
    remedy: "Give the key that the certificate was made for.",
  });
}

/** The credential that a client certificate is: its key signs a challenge, and what comes back is a token for some minutes. */
export function certificateCredential(of: CertificateFiles & { readonly client: Client; readonly clock: Clock }): Credential {
  let current: { readonly token: string; readonly expiresAtMs: number } | undefined;
  const login = async (signal: AbortSignal | undefined): Promise<string> => {
    const { pem, certificate } = await ownCertificate(of.certificateFile);
    const key = await ownKey(of.keyFile, certificate);
    const { nonce, audience } = await of.client.challenge({ signal });
    const certificateSha256 = createHash("sha256").update(certificate.raw).digest("hex");
    const { signText } = await import("../security/mod.ts");
    const signature = signText(loginStatement({ audience, nonce, certificateSha256 }), key);
    const { token, expires_at } = await of.client.certificateLogin({ nonce, certificate: pem, signature }, { signal });
    current = { token, expiresAtMs: Date.parse(expires_at) };
    return token;
  };
  return {
    describe: `the client certificate ${of.certificateFile}`,
    token: async (signal) => (current !== undefined && of.clock.now() < current.expiresAtMs - MARGIN_MS ? current.token : login(signal)),
    refused: () => {
      current = undefined;
    },
  };
}
