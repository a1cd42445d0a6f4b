import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { TransporterError } from "../kit/mod.ts";

/** With less than this a small write may still find room in a page that is there, while the next event does not. */
const LEAST_BYTES = 1024 * 1024;

/** STORE_FULL where the disk of a database file has no room to go on with. */
export function requireRoom(path: string, what: string): void {
  const { bavail, bsize } = statfsSync(dirname(path));
  const bytes = bavail * bsize;
  if (bytes >= LEAST_BYTES) return;
  throw new TransporterError("STORE_FULL", `the disk of the ${what} has ${bytes} bytes left`, { details: { path, bytes } });
}
