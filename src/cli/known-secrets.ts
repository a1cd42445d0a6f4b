import { type Settings, splitServerUrl } from "../config/mod.ts";
import { isSecretName } from "../redaction/mod.ts";
import type { Host } from "./host.ts";

/** What other programs keep in their variables; a shorter one is as likely a word such as `enabled`. */
const FOREIGN_MIN_CHARS = 8;

/** Called after a secret, but only naming where it lies: a Secret, a file. People have to read that in messages. */
const PLACES: ReadonlySet<string> = new Set(["TRANSPORTER_SECURITY_SECRET", "TRANSPORTER_IDENTITY_SECRET", "TRANSPORTER_CLIENT_KEY"]);

/** What the environment holds that nobody is to see: variables named as secrets, and passwords in addresses. */
export function secretsOfEnvironment(env: Host["env"]): string[] {
  return Object.entries(env).flatMap(([name, value = ""]) => {
    if (!isSecretName(name) || PLACES.has(name)) return secretsOfAddress(value);
    return name.startsWith("TRANSPORTER_") || value.length >= FOREIGN_MIN_CHARS ? [value, ...secretsOfAddress(value)] : [];
  });
}

/** As much of a command's settings, wherever they come from. */
export function secretsOfSettings(settings: Settings, values: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(settings).flatMap(([name, setting]) => {
    const value = values[name];
    if (typeof value !== "string") return [];
    return setting.secret === true ? [value, ...secretsOfAddress(value)] : secretsOfAddress(value);
  });
}

function secretsOfAddress(text: string): string[] {
  const parts = splitServerUrl(text);
  if (parts === undefined) return [];
  // NATS takes a user without a password for a token.
  const secret = parts.password ?? (parts.scheme === "nats" || parts.scheme === "tls" ? parts.user : undefined) ?? "";
  try {
    return [secret, decodeURIComponent(secret)];
  } catch {
    return [secret];
  }
}
