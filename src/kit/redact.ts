// Names whose values never reach a log, in any spelling: password, PASSWD, api-key, connectionToken, Authorization, …
const SECRET_NAME =
  /pass(word|wd|phrase)?$|secret|token|authorization|cookie|credential|private[-_]?key|api[-_]?key|client[-_]?key|kubeconfig[-_]?data|connection[-_]?string/i;
const BEARER = /\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}/gi;
const URL_PASSWORD = /\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):[^\s@/]+@/gi;
const PEM = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----[\s\S]*?-----END \1-----/g;
const JWT = /\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}/g;

/** What every secret above has in it: most texts have none of it, and then one look is enough. */
const SUSPICIOUS = /-----BEGIN|bearer|basic|:\/\/|eyJ/i;

export const REDACTED = "[redacted]";

/** Whether a text may hold a secret by its shape; most hold nothing of the kind. */
export function isSuspicious(text: string): boolean {
  return SUSPICIOUS.test(text);
}

/** Takes secrets out of a text: bearer and basic credentials, passwords in URLs, private keys, JWTs. */
export function redactText(text: string): string {
  if (text.length < 6 || !SUSPICIOUS.test(text)) return text;
  return text
    .replace(PEM, REDACTED)
    .replace(BEARER, (_all, scheme: string) => `${scheme} ${REDACTED}`)
    .replace(URL_PASSWORD, `$1:${REDACTED}@`)
    .replace(JWT, REDACTED);
}

/** True when a field of this name holds a secret. */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name);
}

/** A copy of any value without its secrets: fields by name, texts by shape; at most 8 levels deep. */
export function redact(value: unknown, depth = 0): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= 8) return "[…]";
  if (value instanceof Error)
    return {
      name: value.name,
      message: redactText(value.message),
      ...(value.cause === undefined ? {} : { cause: redact(value.cause, depth + 1) }),
    };
  if (Array.isArray(value)) return value.map((item: unknown) => redact(item, depth + 1));
  const out: Record<string, unknown> = {};
  for (const [key, child] of Object.entries(value))
    out[key] = isSecretName(key) && child !== "" && child !== null && child !== undefined ? REDACTED : redact(child, depth + 1);
  return out;
}
