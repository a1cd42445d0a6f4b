import { REDACTED } from "./names.ts";

/** Shorter ones would be found within words that mean nothing. */
export const KEPT_MIN_CHARS = 6;
/** Lines of a longer text (a key, a kubeconfig) are known by themselves from this length on. */
const LINE_MIN_CHARS = 12;
/** Of a longer line this much is looked for; what follows it without a break goes with it. */
const LINE_MAX_CHARS = 1_000;

/** Up to this many make one pattern, which is the quickest for few; of thousands the engine takes seconds to make one, or refuses to. */
const PATTERN_MOST = 32;

interface Finder {
  isIn(text: string): boolean;
  without(text: string): string;
}

class Kept {
  /** How many named just these. */
  holders = 0;
  readonly #values: readonly string[];
  #finder: Finder | undefined;

  constructor(values: readonly string[]) {
    this.#values = values;
  }

  /** Made when it is first needed: most are forgotten before that. */
  get finder(): Finder {
    this.#finder ??= this.#values.length <= PATTERN_MOST ? patternFinder(this.#values) : tableFinder(this.#values);
    return this.#finder;
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
  for (const { finder } of all.values()) if (finder.isIn(text)) return true;
  return false;
}

export function withoutKept(text: string): string {
  let clean = text;
  for (const { finder } of all.values()) clean = finder.without(clean);
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

function patternFinder(values: readonly string[]): Finder {
  // The longest first: what is the beginning of another must not leave the rest of that standing.
  const longestFirst = values.toSorted((a, b) => b.length - a.length);
  const parts = longestFirst.map((value) =>
    value.length <= LINE_MAX_CHARS ? RegExp.escape(value) : `${RegExp.escape(value.slice(0, LINE_MAX_CHARS))}[^\\s"'\\\\]*`,
  );
  const pattern = new RegExp(parts.join("|"), "g");
  return { isIn: (text) => text.search(pattern) >= 0, without: (text) => text.replace(pattern, REDACTED) };
}

/** Those that begin alike, and the lengths that they have, the longest first. */
interface Alike {
  readonly values: Set<string>;
  lengths: readonly number[];
}

const HASHES = 4096;

/** By their first characters: what a text costs depends on its own length, however many there are. */
function tableFinder(values: readonly string[]): Finder {
  const table = new Map<string, Alike>();
  // Whether anything begins with characters like these: most places of a text are passed over by this alone.
  const begins = new Uint8Array(HASHES);
  const hashAt = (text: string, at: number): number =>
    (text.charCodeAt(at) * 31 + text.charCodeAt(at + 2) * 17 + text.charCodeAt(at + 5) * 257) % HASHES;
  for (const value of values) {
    const short = value.slice(0, LINE_MAX_CHARS);
    const start = short.slice(0, KEPT_MIN_CHARS);
    const alike = table.get(start) ?? { values: new Set(), lengths: [] };
    alike.values.add(short);
    table.set(start, alike);
    begins[hashAt(start, 0)] = 1;
  }
  for (const alike of table.values()) alike.lengths = [...new Set([...alike.values].map(({ length }) => length))].toSorted((a, b) => b - a);
  /** The first that stands at `from` or behind it, and where it ends. */
  const find = (text: string, from: number): { readonly at: number; readonly end: number } | undefined => {
    for (let at = from; at <= text.length - KEPT_MIN_CHARS; at += 1) {
      if (begins[hashAt(text, at)] === 0) continue;
      const alike = table.get(text.slice(at, at + KEPT_MIN_CHARS));
      const length = alike?.lengths.find((one) => alike.values.has(text.slice(at, at + one)));
      if (length === undefined) continue;
      let end = at + length;
      if (length === LINE_MAX_CHARS) while (end < text.length && !/[\s"'\\]/.test(text.charAt(end))) end += 1;
      return { at, end };
    }
    return undefined;
  };
  return {
    isIn: (text) => find(text, 0) !== undefined,
    without(text) {
      let clean = "";
      let done = 0;
      for (let found = find(text, 0); found !== undefined; found = find(text, done)) {
        clean += text.slice(done, found.at) + REDACTED;
        done = found.end;
      }
      return clean + text.slice(done);
    },
  };
}
