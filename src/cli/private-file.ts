import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { TransporterError, messageOf } from "../kit/mod.ts";

function codeOf(error: unknown): string | undefined {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : undefined;
}

/** The text of a file; undefined where there is none. FILE_UNREADABLE. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "ENOTDIR") return undefined;
    throw new TransporterError("FILE_UNREADABLE", `${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Writes a file whole, and readable by its owner alone. FILE_UNREADABLE. */
export async function writePrivate(path: string, text: string, unique: string): Promise<void> {
  const partial = `${path}.${unique}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(partial, text, { mode: 0o600 });
    await chmod(partial, 0o600);
    await rename(partial, path);
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `${path}: ${messageOf(error)}`, { cause: error });
  }
}
