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

/** `fetch` that trusts these CAs alone; the system's where there are none; `nobody`: it checks no certificate, and must not be told a secret. */
export function fetchTrusting(ca: string | "nobody" | undefined): Fetch {
  if (ca === undefined) return (url, init) => fetch(url, init);
  const tls = ca === "nobody" ? { rejectUnauthorized: false } : { ca };
  return (url, init) => fetch(url, { ...init, tls });
}
