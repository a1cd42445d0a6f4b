import { randomBytes } from "node:crypto";
import { link, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { TransporterError, messageOf } from "../../kit/mod.ts";

async function prepare(path: string, text: string, mode: number): Promise<string> {
  const partial = join(dirname(path), `.${randomBytes(6).toString("hex")}.tmp`);
  const file = await open(partial, "wx", mode);
  try {
    await file.chmod(mode);
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  return partial;
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function unwritable(path: string, error: unknown): TransporterError {
  return new TransporterError("FILE_UNREADABLE", `${path} cannot be written: ${messageOf(error)}`, { cause: error });
}

/** Puts a file in the place of the one that is there, whole or not at all. Throws FILE_UNREADABLE. */
export async function replaceFile(path: string, text: string, mode = 0o600): Promise<void> {
  let partial: string | undefined;
  try {
    partial = await prepare(path, text, mode);
    await rename(partial, path);
    await syncDirectory(dirname(path));
  } catch (error) {
    if (partial !== undefined) await rm(partial, { force: true });
    throw unwritable(path, error);
  }
}

/** Makes a file; false where there is one already. Throws FILE_UNREADABLE. */
export async function makeFile(path: string, text: string, mode = 0o600): Promise<boolean> {
  let partial: string | undefined;
  try {
    partial = await prepare(path, text, mode);
    await link(partial, path);
    await syncDirectory(dirname(path));
    return true;
  } catch (error) {
    const { code } = error as { readonly code?: string };
    if (code === "EEXIST") return false;
    throw unwritable(path, error);
  } finally {
    if (partial !== undefined) await rm(partial, { force: true });
  }
}

/** Makes a directory that only its owner may enter; one that is there stays as it is. Throws FILE_UNREADABLE. */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unwritable(path, error);
  }
}
