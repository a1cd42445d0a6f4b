import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { TransporterError, messageOf } from "../kit/mod.ts";

/** A directory of one's own in the directory of a store. */
export async function besideStore(directory: string): Promise<string> {
  try {
    return await mkdtemp(join(directory, ".transporter-copy-"));
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `nothing can be written beside the store: ${messageOf(error)}`, {
      cause: error,
      remedy: `Let the process's user write to ${directory}.`,
    });
  }
}
