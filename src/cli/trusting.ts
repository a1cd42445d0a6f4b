import { readFile } from "node:fs/promises";
import type { Fetch } from "../client/mod.ts";
import { TransporterError, messageOf } from "../kit/mod.ts";

/** The PEM text of a CA file. FILE_UNREADABLE. */
export async function caText(caFile: string): Promise<string> {
  let ca: string;
  try {
    ca = await readFile(caFile, "utf8");
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `--ca-file ${caFile}: ${messageOf(error)}`, { cause: error });
  }
  if (!ca.includes("-----BEGIN CERTIFICATE-----"))
    throw new TransporterError("FILE_UNREADABLE", `--ca-file ${caFile}: holds no PEM certificate`);
  return ca;
}

/** `fetch` that trusts these CAs alone; the system's where there are none. */
export function fetchTrusting(ca: string | undefined): Fetch {
  if (ca === undefined) return (url, init) => fetch(url, init);
  return (url, init) => fetch(url, { ...init, tls: { ca } });
}

/** `fetch` that checks no certificate. It must not be told a secret, and what it says is nobody's word. */
export const fetchUnchecked: Fetch = (url, init) => fetch(url, { ...init, tls: { rejectUnauthorized: false } });
