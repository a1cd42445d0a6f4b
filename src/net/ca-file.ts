import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { TransporterError, messageOf } from "../kit/mod.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/**
 * Reads a file of certificate authorities; answers its PEM certificates and leaves everything else in the file out. Throws
 * FILE_UNREADABLE, or CONFIG_INVALID where the file holds no certificate or a broken one.
 */
export async function readCaFile(path: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `the CA file ${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  const certificates = text.match(CERTIFICATE) ?? [];
  if (certificates.length === 0) {
    throw new TransporterError("CONFIG_INVALID", `the CA file ${path} holds no PEM certificate`, {
      remedy: "Give a file with one or more -----BEGIN CERTIFICATE----- blocks.",
    });
  }
  for (const [index, pem] of certificates.entries()) {
    try {
      void new X509Certificate(pem).subject;
    } catch (error) {
      throw new TransporterError("CONFIG_INVALID", `certificate ${index + 1} of the CA file ${path} cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }
  return `${certificates.join("\n")}\n`;
}
