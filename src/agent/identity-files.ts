import { constants } from "node:fs";
import { chmod, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, TransporterError } from "../kit/mod.ts";
import { type KubeClient, readSecret, type SecretContent, type SecretName, writeSecret } from "../k8s/mod.ts";

/** The files that an identity is made of. The last three are what cert-manager and `kubectl create secret tls` write. */
export const IDENTITY_FILES = [
  "key.pem",
  "certificate.pem",
  "trust.pem",
  "identity.json",
  "next-key.pem",
  "tls.key",
  "tls.crt",
  "ca.crt",
] as const;
export type IdentityFile = (typeof IDENTITY_FILES)[number];
export type FileTexts = Readonly<Partial<Record<IdentityFile, string>>>;
export type FileChange = readonly [file: IdentityFile, text: string | null];

/** Where an agent's identity is kept. */
export interface IdentityHome {
  /** For people. */
  readonly location: string;
  /** What is there; throws what keeps it from being read. */
  read(): Promise<FileTexts>;
  /**
   * Writes in this order, each file whole or not at all; null removes. False: somebody else wrote since it was read, and nothing was written.
   * Throws what keeps it from being written.
   */
  write(changes: readonly FileChange[]): Promise<boolean>;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** A directory for its owner alone. One agent at a time has it, as it has the ledger. */
export class IdentityDirectory implements IdentityHome {
  readonly location: string;

  constructor(path: string) {
    this.location = path;
  }

  async read(): Promise<FileTexts> {
    const texts: Partial<Record<IdentityFile, string>> = {};
    for (const file of IDENTITY_FILES) {
      try {
        texts[file] = await readFile(join(this.location, file), "utf8");
      } catch (error) {
        if (isMissing(error)) continue;
        throw new TransporterError("FILE_UNREADABLE", `the identity in ${this.location} cannot be read: ${file}: ${messageOf(error)}`, {
          cause: error,
        });
      }
    }
    return texts;
  }

  async write(changes: readonly FileChange[]): Promise<boolean> {
    try {
      await mkdir(this.location, { recursive: true, mode: 0o700 });
      await chmod(this.location, 0o700);
      for (const [file, text] of changes) {
        const path = join(this.location, file);
        await (text === null ? rm(path, { force: true }) : this.#replace(path, text));
        // In this order after a crash, too.
        await this.#syncDirectory();
      }
    } catch (error) {
      throw new TransporterError("FILE_UNREADABLE", `the identity in ${this.location} cannot be written: ${messageOf(error)}`, {
        cause: error,
        remedy: "Give the agent a directory that it may write, with --state-dir or --identity-dir.",
      });
    }
    return true;
  }

  async #replace(path: string, text: string): Promise<void> {
    const fresh = `${path}.new`;
    // One may be left of a crash. Made anew: what is written goes into no file that somebody else has open.
    await rm(fresh, { force: true });
    const file = await open(fresh, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(fresh, path);
  }

  async #syncDirectory(): Promise<void> {
    const directory = await open(this.location, constants.O_RDONLY);
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  }
}

/** A Secret, which outlives the pod; another pod of the same agent may be writing it. */
export class IdentitySecret implements IdentityHome {
  readonly location: string;
  readonly #client: KubeClient;
  readonly #name: SecretName;
  #read: SecretContent | undefined;

  constructor(client: KubeClient, name: SecretName) {
    this.location = `Secret ${name.namespace}/${name.name}`;
    this.#client = client;
    this.#name = name;
  }

  async read(): Promise<FileTexts> {
    this.#read = await readSecret(this.#client, this.#name);
    return textsOf(this.#read);
  }

  async write(changes: readonly FileChange[]): Promise<boolean> {
    const entries = Object.fromEntries(changes);
    const written = await writeSecret(this.#client, this.#name, entries, this.#read?.resourceVersion);
    if (written !== undefined) {
      this.#read = written;
      return true;
    }
    const there = await this.read();
    // Our own write, whose answer was lost, looks like somebody else's.
    return changes.every(([file, text]) => (there[file] ?? null) === text);
  }
}

function textsOf(content: SecretContent | undefined): FileTexts {
  const texts: Partial<Record<IdentityFile, string>> = {};
  for (const file of IDENTITY_FILES) {
    const text = content?.data[file];
    if (text !== undefined && text !== "") texts[file] = text;
  }
  return texts;
}
