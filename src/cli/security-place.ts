import { statSync } from "node:fs";
import { join } from "node:path";
import { type Places, defaultSecurityDirectory } from "../config/mod.ts";

/** Of what `transporter cp init` makes. Any of it says that somebody wanted to be secured, also where the CA itself was lost. */
const SIGNS = ["ca.crt", "ca.key", "server.key"];

/** False only where there is nothing: what may not be looked at must not be taken for nothing, or an open control plane would start. */
function isThere(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch (error) {
    const code = typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
    return code !== "ENOENT" && code !== "ENOTDIR";
  }
}

/** Whether there is a CA, or what is left of one, where a control plane looks for one by itself. */
export function seenSecurity(call: { readonly places: Places }): { readonly securityFound: boolean } {
  const directory = defaultSecurityDirectory(call.places);
  return { securityFound: directory !== undefined && SIGNS.some((name) => isThere(join(directory, name))) };
}
