import { existsSync } from "node:fs";
import { join } from "node:path";
import { type Places, defaultSecurityDirectory } from "../config/mod.ts";

/** Whether `transporter cp init` made a CA where a control plane looks for one by itself. */
export function seenSecurity(call: { readonly places: Places }): { readonly securityFound: boolean } {
  const directory = defaultSecurityDirectory(call.places);
  return { securityFound: directory !== undefined && existsSync(join(directory, "ca.crt")) };
}
