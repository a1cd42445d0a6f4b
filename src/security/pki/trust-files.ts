import { type KeyObject, createPrivateKey } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { TransporterError, messageOf } from "../../kit/mod.ts";
import type { TrustFiles } from "../security.ts";
import { sha256Hex } from "../token-format.ts";

/** The names in a security directory. */
export const FILES = {
  ca: "ca.crt",
  caKey: "ca.key",
  cert: "server.crt",
  key: "server.key",
  crl: "crl.pem",
  clientCa: "client-ca.crt",
  adminTokens: "admin-token.hash",
  enrolmentTokens: "enrolment-token.hash",
} as const;
export type FileName = keyof typeof FILES;

/** As cert-manager names them in its Secrets. */
export const SECRET_CERT = "tls.crt";
export const SECRET_KEY = "tls.key";

/** A revocation list of a million certificates has some 40 MB; beyond that somebody named the wrong file. */
const MAX_BYTES = 64 * 1024 * 1024;

export interface FoundFile {
  readonly path: string;
  readonly text: string;
  /** Of the file, where it can be had. */
  readonly mode: number;
}

export interface FoundFiles {
  readonly files: { readonly [K in FileName]?: FoundFile | undefined };
  /** Changes with their content and with nothing else. */
  readonly digest: string;
  /** Of what is kept elsewhere than in files, where anything is. */
  readonly version?: string | undefined;
}

/** Entries that lie elsewhere than in files. */
export interface KeptEntries {
  /** For people. */
  readonly location: string;
  /** All of one state. */
  content(): { readonly entries: Readonly<Record<string, string>>; readonly version: string };
}

function isMissing(error: unknown): boolean {
  const { code } = error as { readonly code?: string };
  return code === "ENOENT" || code === "ENOTDIR";
}

/** Reads a file; undefined where there is none. Throws FILE_UNREADABLE. */
export async function readIfThere(path: string): Promise<FoundFile | undefined> {
  try {
    const about = await stat(path);
    if (about.size > MAX_BYTES) throw new Error(`it has ${about.size} bytes, more than ${MAX_BYTES}`);
    return { path, text: await readFile(path, "utf8"), mode: about.mode & 0o777 };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new TransporterError("FILE_UNREADABLE", `${path} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** Reads what there is of the files. One that was named by itself must be there. Throws FILE_UNREADABLE, CONFIG_INVALID. */
export async function findFiles(from: Omit<TrustFiles, "kept"> & { readonly kept?: KeptEntries | undefined }): Promise<FoundFiles> {
  const { directory, kept } = from;
  if ((from.certFile === undefined) !== (from.keyFile === undefined)) {
    throw new TransporterError("CONFIG_INVALID", "the server's certificate and its key have to be named together", {
      remedy: "Give both --tls-cert-file and --tls-key-file, or neither.",
    });
  }
  const named: { readonly [K in FileName]?: string | undefined } = {
    ca: from.caFile,
    caKey: from.caKeyFile,
    cert: from.certFile,
    key: from.keyFile,
    crl: from.crlFile,
    clientCa: from.clientCaFile,
  };
  const find = async (name: FileName): Promise<FoundFile | undefined> => {
    const path = named[name];
    if (path !== undefined) {
      const found = await readIfThere(path);
      if (found === undefined) throw new TransporterError("FILE_UNREADABLE", `${path} is not there`);
      return found;
    }
    // The key of another CA than the one that was named is not looked for.
    if (name === "caKey" && from.caFile !== undefined) return undefined;
    return inPlace(FILES[name]);
  };
  // One state of it for all of them, whatever is read meanwhile.
  const content = kept?.content();
  const inPlace = async (file: string): Promise<FoundFile | undefined> => {
    if (kept !== undefined) return keptFile(content?.entries[file], file, kept.location);
    return directory === undefined ? undefined : readIfThere(join(directory, file));
  };
  const files: { -readonly [K in FileName]?: FoundFile | undefined } = {};
  for (const name of Object.keys(FILES) as FileName[]) files[name] = await find(name);
  if (files.cert === undefined) {
    files.cert = await inPlace(SECRET_CERT);
    files.key = (await inPlace(SECRET_KEY)) ?? files.key;
  }
  const digest = sha256Hex(JSON.stringify(Object.entries(files).map(([name, file]) => [name, file?.text])));
  return { files, digest, version: content?.version };
}

/** An entry as a file that its owner alone may read. An empty one stands for none: so people make Secrets that are to be filled. */
export function keptFile(text: string | undefined, name: string, location: string): FoundFile | undefined {
  return text === undefined || text.trim() === "" ? undefined : { path: keptPath(name, location), text, mode: 0o600 };
}

/** How an entry is named to people. */
export function keptPath(name: string, location: string): string {
  return `${name} of ${location}`;
}

/** Throws CONFIG_INVALID. */
export function readPrivateKey(file: FoundFile): KeyObject {
  try {
    return createPrivateKey(file.text);
  } catch (error) {
    throw new TransporterError("CONFIG_INVALID", `${file.path} holds no private key that can be read`, {
      cause: error,
      remedy: "Give an unencrypted PEM key (PKCS#8, or the older RSA and EC forms).",
    });
  }
}
