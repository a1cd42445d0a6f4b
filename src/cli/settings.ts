import { readFile } from "node:fs/promises";
import {
  type ConfigFile,
  type FlagValues,
  type Places,
  type Resolved,
  type Settings,
  knownFileKeys,
  parseConfigFile,
  resolveSettings,
  unknownVariableWarnings,
} from "../config/mod.ts";
import { TransporterError, messageOf } from "../kit/mod.ts";
import type { Host } from "./host.ts";

const MAX_FILE_CHARS = 1024 * 1024;

/** Reads the configuration file that applies, if any: the one named, or $HOME/.transporter.yaml where it exists. */
async function configFile(flags: FlagValues, env: Host["env"], places: Places): Promise<ConfigFile | undefined> {
  const flag = flags.get("config");
  const variable = env["TRANSPORTER_CONFIG"];
  const named = flag?.raws.at(-1) ?? (variable === "" ? undefined : variable);
  const path = named ?? places.homeFile;
  if (path === undefined) return undefined;
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const missing = typeof error === "object" && error !== null && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
    if (named === undefined && missing) return undefined;
    const where = flag !== undefined ? `flag ${flag.shown}: ` : named !== undefined ? "environment variable TRANSPORTER_CONFIG: " : "";
    throw new TransporterError("FILE_UNREADABLE", `${where}${path}: ${missing ? "no such file" : messageOf(error)}`, { cause: error });
  }
  if (text.length > MAX_FILE_CHARS) throw new TransporterError("CONFIG_INVALID", `${path}: larger than a configuration file can be`);
  return parseConfigFile(text, path, knownFileKeys());
}

/** Puts flags, environment and file together for a command's settings, with every warning there is about them. */
export async function loadSettings<S extends Settings>(
  settings: S,
  flags: FlagValues,
  env: Host["env"],
  places: Places,
): Promise<Resolved<S>> {
  const file = "config" in settings ? await configFile(flags, env, places) : undefined;
  const resolved = resolveSettings(settings, { flags, env, file });
  return { ...resolved, warnings: [...resolved.warnings, ...("config" in settings ? unknownVariableWarnings(env) : [])] };
}
