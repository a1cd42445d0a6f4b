import { REDACTED } from "./names.ts";

/** Shorter ones would be found within words that mean nothing. */
export const KEPT_MIN_CHARS = 6;
/** Lines of a longer text (a key, a kubeconfig) are known by themselves from this length on. */
const LINE_MIN_CHARS = 12;
/** Of a longer line this much is looked for; what follows it without a break goes with it. */
const LINE_MAX_CHARS = 1_000;

class Kept {
  /** How many named just these. */
  holders = 0;
  readonly #values: readonly string[];
  #pattern: RegExp | undefined;

  constructor(values: readonly string[]) {
    this.#values = values;
  }

  /** Made when it is first needed: most are forgotten before that. */
  get pattern(): RegExp {
    this.#pattern ??= patternOf(this.#values);
    return this.#pattern;
  }
}

const all = new Map<string, Kept>();

/**
 * From now on this value is taken out wherever it appears, as it is, in base64, escaped as in JSON or in an address, and line by line;
 * until what is answered is called. Values of less than six characters are not.
 */
export function keepSecret(value: string): () => void {
  return keepSecrets([value]);
}

/** As `keepSecret`, for several that are forgotten together. */
export function keepSecrets(values: Iterable<string>): () => void {
  const forms = [...new Set([...values].flatMap(formsOf))];
  if (forms.length === 0) return () => undefined;
  const key = JSON.stringify(forms);
  const kept = all.get(key) ?? new Kept(forms);
  all.set(key, kept);
  kept.holders += 1;
  let held = true;
  return () => {
    if (!held) return;
    held = false;
    kept.holders -= 1;
    if (kept.holders === 0) all.delete(key);
  };
}

export function holdsKept(text: string): boolean {
  for (const { pattern } of all.values()) if (text.search(pattern) >= 0) return true;
  return false;
}

export function withoutKept(text: string): string {
  let clean = text;
  for (const { pattern } of all.values()) clean = clean.replace(pattern, REDACTED);
  return clean;
}

function formsOf(value: string): string[] {
  const whole = value.trim();
  if (whole.length < KEPT_MIN_CHARS) return [];
  const lines = whole.includes("\n") ? whole.split(/\r?\n/).filter((line) => line.trim().length >= LINE_MIN_CHARS) : [];
  const said = [whole, ...lines.map((line) => line.trim())];
  return [
    // The padding of base64 is left out: it differs by who writes it.
    ...[value, whole].map((text) =>
      Buffer.from(text)
        .toString("base64")
        .replace(/={1,2}$/, ""),
    ),
    ...said,
    ...said.map((text) => JSON.stringify(text).slice(1, -1)),
    ...said.map((text) => encodeURIComponent(text.toWellFormed())),
  ].filter((form) => form.length >= KEPT_MIN_CHARS);
}

function patternOf(values: readonly string[]): RegExp {
  // The longest first: what is the beginning of another must not leave the rest of that standing.
  const parts = values
    .toSorted((a, b) => b.length - a.length)
    .map((value) =>
      value.length <= LINE_MAX_CHARS ? RegExp.escape(value) : `${RegExp.escape(value.slice(0, LINE_MAX_CHARS))}[^\\s"'\\\\]*`,
    );
  return new RegExp(parts.join("|"), "g");
}
