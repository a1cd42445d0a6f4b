import { isSecretName, REDACTED } from "./names.ts";

// Every pattern here has to be done in time that grows with the text alone: what repeats is bounded, or ends at a character that begins nothing.

const OUR_TOKEN = /(tp[ues]_[0-9A-Za-z]{12})_[0-9A-Za-z]{16,}/g;
const BROKEN_TOKEN = /(tp[ues])_[0-9A-Za-z_]{16,}/g;
/** `{"` in base64: JWTs, and credentials of registries. */
const JSON_IN_BASE64 = /eyJ[A-Za-z0-9_+/=-]{13,}(?:\.[A-Za-z0-9_=-]*){0,4}/g;
/** `-----BEGIN ` in base64, unless it goes on with `CERTIFICATE`. */
const PEM_IN_BASE64 = /LS0tLS1CRUdJTi(?!BDRVJUSUZJQ0FUR)[A-Za-z0-9+/=_-]*/g;
const SCHEME = /\b(bearer|basic)(\s{1,4})(?!tokens?\b|auth)[A-Za-z0-9._~+/=-]{6,}/gi;
const HEADER =
  /((?:set-)?cookie|authorization)(\\?["']?\s{0,3}[:=]\s{0,3}\\?["']?)(?!\s|(?:bearer|basic)\s{1,4}\[redacted\]|\[redacted\])[^\s"'\\][^\n"'\\]{0,4096}/gi;
/** The engine quotes the word at which JSON ended, which may be a password that somebody forgot to quote. */
const JSON_WORD = /(JSON Parse error: [A-Za-z ]{1,40}\\?")[^"\\\n]{1,4096}/g;
const URL_PASSWORD = /(:\/\/[^\s:/@"']{0,256}):[^\s/"']+@/g;
/** A name alone before the `@` is a token where it is long. */
const URL_TOKEN = /:\/\/[^\s:/@"']{16,}@/g;
const NAMED =
  /(pass(?:word|wd|phrase)|secret|token|credential|dockerconfigjson|(?:private|api|access|client)[-_]?key|tls[._]key|connection[-_]?string)([A-Za-z0-9_-]{0,24})(\\{0,3}["']?\s{0,3}[:=]\s{0,3})(?:(\\{0,3}["'])([^"'\n]{1,4096})|([^\s"'\\&,;(){}[\]]{1,4096}))/gi;

/** Takes out what looks like a secret; see `mod.ts`. */
export function withoutShapes(text: string): string {
  let clean = withoutPrivateKeys(text)
    .replace(PEM_IN_BASE64, REDACTED)
    .replace(OUR_TOKEN, (_all, known: string) => `${known}_${REDACTED}`)
    .replace(BROKEN_TOKEN, (_all, type: string) => `${type}_${REDACTED}`)
    .replace(JSON_IN_BASE64, REDACTED)
    .replace(JSON_WORD, `$1${REDACTED}`)
    .replace(SCHEME, (_all, scheme: string, space: string) => `${scheme}${space}${REDACTED}`);
  if (clean.includes("://")) clean = clean.replace(URL_PASSWORD, `$1:${REDACTED}@`).replace(URL_TOKEN, `://${REDACTED}@`);
  if (/kind\\*["']?\s{0,3}[:=]\s{0,3}\\*["']?Secret\b/.test(clean)) clean = withoutSecretData(clean);
  return withoutNamed(
    clean.replace(HEADER, (_all, name: string, sign: string) => `${name}${sign}${REDACTED}`),
    0,
  );
}

/** How often a value that is none is looked at for names and values in turn. */
const MAX_NESTED = 3;

function withoutNamed(text: string, depth: number): string {
  let clean = "";
  let done = 0;
  for (const match of text.matchAll(NAMED)) {
    const [all, name = "", more = "", sign = "", quote = "", quoted, word] = match;
    const value = quoted ?? word ?? "";
    const end = match.index + all.length;
    clean += text.slice(done, end - value.length);
    const secret =
      isSecretName(name + more) &&
      !value.startsWith("[redacted") &&
      (word === undefined || isLikelyValue(name, sign, word, text.slice(end, end + 2)));
    if (secret) clean += quote.startsWith("\\") && value.endsWith("\\") ? `${REDACTED}\\` : REDACTED;
    else clean += depth < MAX_NESTED ? withoutNamed(value, depth + 1) : value;
    done = end;
  }
  return done === 0 ? text : clean + text.slice(done);
}

/** After a colon there may be a value, as in YAML, or a word of somebody who says what is wrong with it. */
function isLikelyValue(name: string, sign: string, word: string, next: string): boolean {
  if (sign.includes("=")) return true;
  if (!/^(?:$|\s*[\n,}\]"'\\]|\s*$)/.test(next)) return false;
  return /^pass|key$/i.test(name) || (word.length >= 8 && /\d/.test(word));
}

const BEGIN = "-----BEGIN ";

/** From the beginning of a private key to its end, or to that of the text where it has none. */
function withoutPrivateKeys(text: string): string {
  let clean = "";
  let done = 0;
  for (let at = text.indexOf(BEGIN); at >= 0; at = text.indexOf(BEGIN, Math.max(done, at + 1))) {
    if (!/^[A-Z0-9 ]{0,40}PRIVATE KEY/.test(text.slice(at + BEGIN.length, at + BEGIN.length + 52))) continue;
    clean += text.slice(done, at) + REDACTED;
    const end = text.indexOf("-----END ", at);
    if (end < 0) return clean;
    const close = text.indexOf("-----", end + 9);
    done = close < 0 ? text.length : close + 5;
  }
  return clean + text.slice(done);
}

const JSON_DATA = /(\\{0,8}["'](?:data|stringData)\\{0,8}["']\s{0,8}:\s{0,8})\{[^{}]*\}?/g;
const YAML_DATA = /^([ \t]*(?:- {1,8})?)(data|stringData):/;

/** Takes the data of Secrets out of manifests in a text, as JSON or YAML, whole or not, as lines or escaped within one. */
function withoutSecretData(text: string): string {
  const lines = text.replace(JSON_DATA, `$1{${REDACTED}}`).split(/(\r?\n|\\{1,3}n)/);
  const out: string[] = [];
  let within: number | undefined;
  for (let at = 0; at < lines.length; at += 2) {
    const [line = "", end = ""] = [lines[at], lines[at + 1]];
    if (within !== undefined) {
      const indent = line.length - line.trimStart().length;
      if (line.trim() === "" || indent > within) continue;
      within = undefined;
    }
    // The first line of a manifest within another text follows what that says.
    const start = YAML_DATA.exec(line);
    if (start === null) out.push(line, end);
    else {
      within = (start[1] ?? "").length;
      out.push(`${start[1] ?? ""}${start[2] ?? ""}: ${REDACTED}`, end);
    }
  }
  return out.join("");
}
