import { NS_PER_MS, formatDurationMs, parseGoDuration } from "../protocol/mod.ts";
import { didYouMean } from "./suggest.ts";

/** What reading a raw value came to. `allowed` completes the sentence "… allowed: ". */
export type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly allowed: string };

/** What a shell may offer while the value is typed. */
export type Completes = "file" | "dir" | "agent" | "event" | "context";

interface Common {
  /** One sentence for `--help`; no full stop, no mention of the default. */
  readonly describe: string;
  /** The one-letter flag, without its dash. */
  readonly short?: string;
  /** Further flag names that mean the same. */
  readonly aliases?: readonly string[];
  /** The name in environment and file, where it differs from the flag. */
  readonly key?: string;
  /** Belongs to one call: neither environment nor file may set it. */
  readonly flagOnly?: true;
  /** Its value is never shown, and as a flag it is accepted with a warning. */
  readonly secret?: true;
  /** For a value that may have a secret in it, such as an address: what of it may be shown. As a flag, one that has is accepted with a warning. */
  readonly shown?: (text: string) => string;
  /** What stands for the value in `--help`. */
  readonly hint?: string;
  readonly completes?: Completes;
  /** Kept out of `--help`'s list and of completion. */
  readonly hidden?: true;
}

/** One thing that can be set: by flag, by environment, in the file, or left at its default. */
export interface Setting<T> extends Common {
  readonly kind: "text" | "switch" | "integer" | "bytes" | "duration" | "choice" | "list" | "pairs";
  readonly default: T;
  /** The default as a person would write it; undefined when there is none worth showing. */
  readonly defaultText: string | undefined;
  readonly choices?: readonly string[];
  /** Takes what every mention of one source said, in order: texts from flags and environment, YAML values from the file. */
  readonly read: (raws: readonly unknown[]) => Read<T>;
}

export type Settings = Readonly<Record<string, Setting<unknown>>>;
export type ValuesOf<S extends Settings> = { readonly [K in keyof S]: S[K] extends Setting<infer T> ? T : never };

const no = (allowed: string): { readonly ok: false; readonly allowed: string } => ({ ok: false, allowed });
const last = (raws: readonly unknown[]): unknown => raws.at(-1);

function scalarText(raw: unknown): string | undefined {
  if (typeof raw === "string") return raw;
  if (typeof raw === "number" || typeof raw === "bigint" || typeof raw === "boolean") return String(raw);
  return undefined;
}

type TextOptions = Common & {
  /** Says what is allowed when the text is not. */
  readonly check?: (text: string) => string | undefined;
};

function readText(raws: readonly unknown[], check?: (text: string) => string | undefined): Read<string> {
  const text = scalarText(last(raws));
  if (text === undefined) return no("a text");
  const problem = check?.(text);
  return problem === undefined ? { ok: true, value: text } : no(problem);
}

/** A text that has a default. */
export function textOr(fallback: string, options: TextOptions): Setting<string> {
  return { ...options, kind: "text", default: fallback, defaultText: fallback, read: (raws) => readText(raws, options.check) };
}

/** A text that may be absent. */
export function text(options: TextOptions): Setting<string | undefined> {
  return { ...options, kind: "text", default: undefined, defaultText: undefined, read: (raws) => readText(raws, options.check) };
}

const YES: ReadonlySet<string> = new Set(["true", "t", "1", "yes", "y", "on"]);
const NO: ReadonlySet<string> = new Set(["false", "f", "0", "no", "n", "off"]);

function readSwitch(raws: readonly unknown[]): Read<boolean> {
  const word = (scalarText(last(raws)) ?? "").toLowerCase();
  if (YES.has(word)) return { ok: true, value: true };
  if (NO.has(word)) return { ok: true, value: false };
  return no("true or false");
}

/** On or off. `--name` is on, `--no-name` and `--name=false` are off. */
export function toggle(fallback: boolean, options: Common): Setting<boolean> {
  return { ...options, kind: "switch", default: fallback, defaultText: String(fallback), read: readSwitch };
}

/** On, off, or not said. */
export function maybe(options: Common): Setting<boolean | undefined> {
  return { ...options, kind: "switch", default: undefined, defaultText: undefined, read: readSwitch };
}

interface Bounds {
  readonly min: number;
  readonly max: number;
}

function readInteger(raws: readonly unknown[], { min, max }: Bounds): Read<number> {
  const raw = scalarText(last(raws)) ?? "";
  const value = /^[+-]?\d{1,15}$/.test(raw.trim()) ? Number(raw) : Number.NaN;
  return value >= min && value <= max ? { ok: true, value } : no(`a whole number from ${min} to ${max}`);
}

export function integerOr(fallback: number, options: Common & Bounds): Setting<number> {
  return {
    ...options,
    kind: "integer",
    default: fallback,
    defaultText: String(fallback),
    hint: options.hint ?? "N",
    read: (raws) => readInteger(raws, options),
  };
}

export function integer(options: Common & Bounds): Setting<number | undefined> {
  return {
    ...options,
    kind: "integer",
    default: undefined,
    defaultText: undefined,
    hint: options.hint ?? "N",
    read: (raws) => readInteger(raws, options),
  };
}

const BYTE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  ki: 1024,
  kib: 1024,
  mi: 1024 ** 2,
  mib: 1024 ** 2,
  gi: 1024 ** 3,
  gib: 1024 ** 3,
};

/** Writes bytes as the largest binary unit that divides them. */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [
    ["GiB", 1024 ** 3],
    ["MiB", 1024 ** 2],
    ["KiB", 1024],
  ] as const)
    if (bytes >= size && bytes % size === 0) return `${bytes / size}${unit}`;
  return String(bytes);
}

/** A size: whole bytes, or with a unit (`32MiB`, `1.5GB`). Bounds in bytes. */
export function bytesOr(fallback: number, options: Common & Bounds): Setting<number> {
  return {
    ...options,
    kind: "bytes",
    default: fallback,
    defaultText: formatBytes(fallback),
    hint: options.hint ?? "SIZE",
    read(raws) {
      const allowed = no(`a size from ${formatBytes(options.min)} to ${formatBytes(options.max)}, such as 32MiB`);
      const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec((scalarText(last(raws)) ?? "").trim());
      const unit = BYTE_UNITS[match?.[2]?.toLowerCase() ?? "?"];
      if (match === null || unit === undefined) return allowed;
      const value = Math.round(Number(match[1]) * unit);
      return value >= options.min && value <= options.max ? { ok: true, value } : allowed;
    },
  };
}

function readDuration(raws: readonly unknown[], { min, max }: Bounds): Read<number> {
  const allowed = no(`a duration from ${formatDurationMs(min)} to ${formatDurationMs(max)} with its unit, such as 30s or 1h30m`);
  const raw = last(raws);
  // A bare number in a file would be nanoseconds to one reader and seconds to the next.
  if (typeof raw !== "string") return allowed;
  const ns = parseGoDuration(raw.trim());
  if (ns === undefined) return allowed;
  const valueMs = ns / NS_PER_MS;
  return valueMs >= min && valueMs <= max ? { ok: true, value: valueMs } : allowed;
}

/** A Go duration (`1h30m`); values and bounds in milliseconds. */
export function durationOr(fallbackMs: number, options: Common & Bounds): Setting<number> {
  return {
    ...options,
    kind: "duration",
    default: fallbackMs,
    defaultText: formatDurationMs(fallbackMs),
    hint: options.hint ?? "DURATION",
    read: (raws) => readDuration(raws, options),
  };
}

export function duration(options: Common & Bounds): Setting<number | undefined> {
  return {
    ...options,
    kind: "duration",
    default: undefined,
    defaultText: undefined,
    hint: options.hint ?? "DURATION",
    read: (raws) => readDuration(raws, options),
  };
}

function readChoice<T extends string>(raws: readonly unknown[], choices: readonly T[]): Read<T> {
  const raw = scalarText(last(raws)) ?? "";
  const found = choices.find((choice) => choice === raw);
  return found === undefined ? no(`${choices.join(", ")}.${didYouMean(raw, choices)}`) : { ok: true, value: found };
}

export function choiceOr<const T extends string>(fallback: NoInfer<T>, choices: readonly T[], options: Common): Setting<T> {
  return {
    ...options,
    kind: "choice",
    choices,
    default: fallback,
    defaultText: fallback,
    hint: options.hint ?? choices.join("|"),
    read: (raws) => readChoice(raws, choices),
  };
}

export function choice<const T extends string>(choices: readonly T[], options: Common): Setting<T | undefined> {
  return {
    ...options,
    kind: "choice",
    choices,
    default: undefined,
    defaultText: undefined,
    hint: options.hint ?? choices.join("|"),
    read: (raws) => readChoice(raws, choices),
  };
}

/**
 * Splits at commas as 0.1 did: a part in double quotes keeps its commas, and a doubled quote inside stands for one.
 * Undefined when a quote is not closed.
 */
export function splitCommas(raw: string): string[] | undefined {
  const parts: string[] = [];
  const part = /\s*(?:"((?:[^"]|"")*)"\s*|([^,]*))(,|$)/y;
  let at = 0;
  for (;;) {
    part.lastIndex = at;
    const match = part.exec(raw);
    if (match === null) return undefined;
    if (match[2]?.startsWith('"') === true) return undefined;
    parts.push(match[1]?.replaceAll('""', '"') ?? (match[2] ?? "").trimEnd());
    at = part.lastIndex;
    if (match[3] === "") return parts;
  }
}

function readList(raws: readonly unknown[], allowed: string): Read<readonly string[]> {
  const out: string[] = [];
  for (const raw of raws.flat(1)) {
    const item = scalarText(raw);
    const parts = item === undefined ? undefined : splitCommas(item);
    if (parts === undefined || parts.includes("")) return no(allowed);
    out.push(...parts);
  }
  return { ok: true, value: out };
}

type ListOptions = Common & { readonly check?: (item: string) => string | undefined };

/** Several texts: the flag repeated, or separated by commas, or a YAML list. */
export function list(options: ListOptions): Setting<readonly string[]> {
  return listOr([], options);
}

/** Several texts of which each may hold commas: the flag repeated. */
export function texts(options: ListOptions): Setting<readonly string[]> {
  return {
    ...options,
    kind: "list",
    default: [],
    defaultText: undefined,
    read(raws) {
      const value: string[] = [];
      for (const raw of raws.flat(1)) {
        const item = scalarText(raw) ?? "";
        const problem = item === "" ? "a text, again by repeating the flag" : options.check?.(item);
        if (problem !== undefined) return no(problem);
        value.push(item);
      }
      return { ok: true, value };
    },
  };
}

/** The same with a default. */
export function listOr(fallback: readonly string[], options: ListOptions): Setting<readonly string[]> {
  const allowed = "one or more values, separated by commas or by repeating the flag";
  return {
    ...options,
    kind: "list",
    default: fallback,
    defaultText: fallback.length === 0 ? undefined : fallback.join(","),
    read(raws) {
      const read = readList(raws, allowed);
      if (!read.ok || options.check === undefined) return read;
      for (const item of read.value) {
        const problem = options.check(item);
        if (problem !== undefined) return no(problem);
      }
      return read;
    },
  };
}

/** `key=value` pairs: the flag repeated, or separated by commas, or a YAML map. */
export function pairs(options: Common): Setting<Readonly<Record<string, string>>> {
  const allowed = "key=value, separated by commas or by repeating the flag";
  return {
    ...options,
    kind: "pairs",
    default: {},
    defaultText: undefined,
    hint: options.hint ?? "KEY=VALUE",
    read(raws) {
      const entries: [string, string][] = [];
      for (const raw of raws) {
        if (typeof raw === "object" && raw !== null && !Array.isArray(raw)) {
          for (const [key, value] of Object.entries(raw)) {
            const itemText = scalarText(value);
            if (itemText === undefined || key === "") return no(allowed);
            entries.push([key, itemText]);
          }
          continue;
        }
        const items = readList([raw], allowed);
        if (!items.ok) return items;
        for (const item of items.value) {
          const at = item.indexOf("=");
          if (at < 1) return no(allowed);
          entries.push([item.slice(0, at), item.slice(at + 1)]);
        }
      }
      // Not Object.fromEntries over a plain object: a key such as __proto__ must stay a key.
      const out: Record<string, string> = Object.create(null) as Record<string, string>;
      for (const [key, value] of entries) out[key] = value;
      return { ok: true, value: out };
    },
  };
}
