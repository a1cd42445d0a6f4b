import { TransporterError } from "../kit/mod.ts";
import { type ConfigFile, canonicalKey } from "./file.ts";
import type { Setting, Settings, ValuesOf } from "./setting.ts";

export type Env = Readonly<Record<string, string | undefined>>;

/** Where a value came from, most telling first. */
export type Origin =
  | { readonly from: "flag"; readonly name: string }
  | { readonly from: "env"; readonly name: string }
  | { readonly from: "file"; readonly path: string; readonly line: number; readonly name: string }
  | { readonly from: "default" };

export function describeOrigin(origin: Origin): string {
  switch (origin.from) {
    case "flag":
      return `flag ${origin.name}`;
    case "env":
      return `environment variable ${origin.name}`;
    case "file":
      return `${origin.path}:${origin.line} (${origin.name})`;
    case "default":
      return "the default";
  }
}

/** What the flags of one call said: each mention in order, by setting. `shown` is the flag as it was typed. */
export type FlagValues = ReadonlyMap<string, { readonly raws: readonly string[]; readonly shown: string }>;

export interface Sources {
  readonly flags: FlagValues;
  readonly env: Env;
  readonly file: ConfigFile | undefined;
}

export interface Resolved<S extends Settings> {
  readonly values: ValuesOf<S>;
  readonly origins: Readonly<Record<keyof S & string, Origin>>;
  /** For people, one line each: secrets given as flags, service links in the way. */
  readonly warnings: readonly string[];
}

/** The name of a setting in the file and, in capitals, in the environment. */
export function settingKey(name: string, setting: Setting<unknown>): string {
  return setting.key ?? name;
}

export function envName(name: string, setting: Setting<unknown>): string {
  return `TRANSPORTER_${settingKey(name, setting).toUpperCase().replaceAll("-", "_")}`;
}

/**
 * Kubernetes gives every pod of a namespace variables for each Service in it: for a Service called `transporter-ws`,
 * TRANSPORTER_WS_PORT=tcp://10.96.0.7:8080. Such a value is never meant for us.
 */
function isServiceLink(name: string, value: string): boolean {
  return name.endsWith("_PORT") && /^(tcp|udp|sctp):\/\/[^/]+:\d+$/.test(value);
}

function invalid(setting: Setting<unknown>, origin: Origin, raws: readonly unknown[], allowed: string): TransporterError {
  const safe = raws.map((raw) => (typeof raw === "string" ? (setting.shown?.(raw) ?? raw) : raw));
  const shown = setting.secret === true ? "" : ` ${JSON.stringify(safe.length === 1 ? safe[0] : safe).slice(0, 80)}`;
  return new TransporterError("CONFIG_INVALID", `${describeOrigin(origin)}: the value${shown} cannot be used; allowed: ${allowed}`);
}

/**
 * Puts flags over environment over file over defaults, and says for each value where it came from. Throws CONFIG_INVALID for the first
 * value that cannot be used, naming it, its origin and what is allowed. An empty variable counts as not set.
 */
export function resolveSettings<S extends Settings>(settings: S, sources: Sources): Resolved<S> {
  const values: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  const warnings: string[] = [];
  for (const [name, setting] of Object.entries<Setting<unknown>>(settings)) {
    const found = find(name, setting, sources, warnings);
    if (found === undefined) {
      values[name] = setting.default;
      origins[name] = { from: "default" };
      continue;
    }
    const read = setting.read(found.raws);
    if (!read.ok) throw invalid(setting, found.origin, found.raws, read.allowed);
    if (found.origin.from === "flag" && holdsSecret(setting, found.raws))
      warnings.push(
        `${found.origin.name} puts a secret on the command line, where every user of this machine can read it; use ${envName(name, setting)} instead`,
      );
    values[name] = read.value;
    origins[name] = found.origin;
  }
  return { values: values as ValuesOf<S>, origins: origins as Resolved<S>["origins"], warnings };
}

function holdsSecret(setting: Setting<unknown>, raws: readonly unknown[]): boolean {
  if (setting.secret === true) return raws.some((raw) => raw !== "");
  const { shown } = setting;
  return shown !== undefined && raws.some((raw) => typeof raw === "string" && shown(raw) !== raw);
}

interface Found {
  readonly raws: readonly unknown[];
  readonly origin: Origin;
}

function find(name: string, setting: Setting<unknown>, sources: Sources, warnings: string[]): Found | undefined {
  const flag = sources.flags.get(name);
  if (flag !== undefined) return { raws: flag.raws, origin: { from: "flag", name: flag.shown } };
  if (setting.flagOnly === true) return undefined;
  const variable = envName(name, setting);
  const fromEnv = sources.env[variable];
  if (fromEnv !== undefined && fromEnv !== "") {
    if (setting.kind === "text" || !isServiceLink(variable, fromEnv)) return { raws: [fromEnv], origin: { from: "env", name: variable } };
    warnings.push(
      `${variable}=${fromEnv} is left aside: it looks like a Kubernetes service link (enableServiceLinks: false keeps them out of the pod)`,
    );
  }
  const entry = sources.file?.entries.get(canonicalKey(settingKey(name, setting)));
  if (entry === undefined || entry.value === null || sources.file === undefined) return undefined;
  return { raws: [entry.value], origin: { from: "file", path: sources.file.path, line: entry.line, name: entry.name } };
}
