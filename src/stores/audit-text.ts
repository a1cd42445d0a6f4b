import { redact, redactText } from "../redaction/mod.ts";
import type { NewAudit } from "./records.ts";

/** For drivers: what strangers may have put into an entry, as it is kept for years: without secrets. */
export function cleanAudit({ user, details }: NewAudit): { readonly user: string | undefined; readonly details: unknown } {
  return { user: user === undefined ? undefined : redactText(user), details: details === undefined ? undefined : redact(details) };
}
