/** Stands where a secret stood. */
export const REDACTED = "[redacted]";

// Names whose values are never shown, in any spelling: password, PASSWD, api-key, connectionToken, Authorization, …
const SECRET_NAME =
  /pass(word|wd|phrase)?$|secret|token|authorization|cookie|credential|(private|api|access|client)[-_]?key|tls[._]key|kubeconfig[-_]?data|dockerconfigjson|connection[-_]?string/i;
/** What is said about a secret without being one: `token_id`, `secretName`, `tokenFile`, `tokens_revoked`. */
const ABOUT_A_SECRET =
  /(id|ids|name|names|namespace|count|kind|type|ttl|file|path|dir|ref|url|audience|issuer|revoked|expire[sd]?|(_at|At)(_?ms|Ms)?|last_used)$/i;

const KEPT_NAMES = 2_000;
const known = new Map<string, boolean>();

/** True when a field of this name holds a secret. */
export function isSecretName(name: string): boolean {
  let secret = known.get(name);
  if (secret === undefined) {
    secret = SECRET_NAME.test(name) && !ABOUT_A_SECRET.test(name);
    // Names are mostly those of the program; whoever makes them up pays with speed, not with our memory.
    if (known.size < KEPT_NAMES && name.length <= 100) known.set(name, secret);
  }
  return secret;
}
