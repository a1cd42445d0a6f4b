import { type FlagValues, type Setting, type Settings, didYouMean } from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import type { Command } from "./command.ts";

export interface ParsedArgs {
  readonly flags: FlagValues;
  readonly positionals: readonly string[];
  readonly help: boolean;
}

interface Known {
  readonly byLong: ReadonlyMap<string, string>;
  readonly byShort: ReadonlyMap<string, string>;
}

function knownFlags(settings: Settings): Known {
  const byLong = new Map<string, string>();
  const byShort = new Map<string, string>();
  for (const [name, setting] of Object.entries(settings)) {
    byLong.set(name, name);
    for (const alias of setting.aliases ?? []) byLong.set(alias, name);
    if (setting.short !== undefined) byShort.set(setting.short, name);
  }
  return { byLong, byShort };
}

function usage(message: string, remedy: string): TransporterError {
  return new TransporterError("USAGE", message, { remedy });
}

/**
 * The strict pass over a command's arguments, as pflag read them for 0.1: `--name value`, `--name=value`, `-n value`, `-nvalue`,
 * `-n=value`, one-letter switches together, `--` ends the flags, and every mention of a repeated flag is kept, in order. Throws USAGE
 * for a flag that the command does not have, a value that is missing, and positionals that are too few or too many.
 */
export function parseArgs(args: readonly string[], command: Pick<Command, "settings" | "positional">, commandLine: string): ParsedArgs {
  const { settings } = command;
  const known = knownFlags(settings);
  const flags = new Map<string, { raws: string[]; shown: string }>();
  const positionals: string[] = [];
  const remedy = `See \`${commandLine} --help\`.`;
  let help = false;
  let at = 0;

  const settingOf = (name: string): Setting<unknown> => {
    const setting = settings[name];
    if (setting === undefined) throw usage(`unknown flag --${name}`, remedy);
    return setting;
  };
  const add = (name: string, shown: string, raw: string): void => {
    const before = flags.get(name);
    if (before === undefined) flags.set(name, { raws: [raw], shown });
    else before.raws.push(raw);
  };
  const valueAfter = (shown: string): string => {
    const next = args[at];
    // Taken as it is, so that `--priority -5` works, unless it is plainly the next flag.
    const nextFlag = next?.startsWith("--") === true ? (next.slice(2).split("=")[0] ?? "") : undefined;
    if (next === undefined || next === "--" || (nextFlag !== undefined && known.byLong.has(nextFlag)))
      throw usage(`flag ${shown} needs a value`, remedy);
    at += 1;
    return next;
  };

  const long = (token: string): void => {
    const equals = token.indexOf("=");
    const typed = token.slice(2, equals < 0 ? undefined : equals);
    const value = equals < 0 ? undefined : token.slice(equals + 1);
    const name = known.byLong.get(typed);
    if (name !== undefined) {
      if (settingOf(name).kind === "switch") add(name, `--${typed}`, value ?? "true");
      else add(name, `--${typed}`, value ?? valueAfter(`--${typed}`));
      return;
    }
    if (typed === "help" && value === undefined) {
      help = true;
      return;
    }
    const negated = typed.startsWith("no-") ? known.byLong.get(typed.slice(3)) : undefined;
    if (negated !== undefined && settingOf(negated).kind === "switch") {
      if (value !== undefined) throw usage(`flag --${typed} takes no value`, remedy);
      add(negated, `--${typed}`, "false");
      return;
    }
    throw usage(
      `unknown flag --${typed} for "${commandLine}".${didYouMean(typed.replaceAll("_", "-"), known.byLong.keys(), "--")}`,
      remedy,
    );
  };

  const short = (token: string): void => {
    let rest = token.slice(1);
    while (rest !== "") {
      const letter = rest[0] ?? "";
      rest = rest.slice(1);
      const name = known.byShort.get(letter);
      if (name === undefined) {
        if (letter === "h") {
          help = true;
          continue;
        }
        const word = token.slice(1).split("=")[0] ?? "";
        const meant = known.byLong.has(word) ? ` Did you mean --${word}?` : "";
        throw usage(`unknown flag -${letter} in ${JSON.stringify(token)} for "${commandLine}".${meant}`, remedy);
      }
      if (settingOf(name).kind === "switch") {
        if (rest.startsWith("=")) {
          add(name, `-${letter}`, rest.slice(1));
          return;
        }
        add(name, `-${letter}`, "true");
        continue;
      }
      add(name, `-${letter}`, rest === "" ? valueAfter(`-${letter}`) : rest.replace(/^=/, ""));
      return;
    }
  };

  while (at < args.length) {
    const token = args[at] ?? "";
    at += 1;
    if (token === "--") {
      positionals.push(...args.slice(at));
      break;
    }
    if (token.startsWith("--")) long(token);
    else if (token.startsWith("-") && token !== "-") short(token);
    else positionals.push(token);
  }
  if (!help) checkPositionals(positionals, command, flags, commandLine);
  return { flags, positionals, help };
}

function checkPositionals(
  positionals: readonly string[],
  { positional, settings }: Pick<Command, "settings" | "positional">,
  flags: FlagValues,
  commandLine: string,
): void {
  const remedy = `See \`${commandLine} --help\`.`;
  const max = positional?.max ?? 0;
  if (positionals.length > max) {
    const extra = positionals[max] ?? "";
    const lastSwitch = [...flags.keys()].findLast((name) => settings[name]?.kind === "switch");
    const meant = /^(true|false|on|off|yes|no)$/i.test(extra) && lastSwitch !== undefined ? ` Did you mean --${lastSwitch}=${extra}?` : "";
    throw usage(`unexpected argument ${JSON.stringify(extra)} for "${commandLine}".${meant}`, remedy);
  }
  if (positional === undefined) return;
  if (positionals.length < positional.min) throw usage(`"${commandLine}" needs ${positional.name}: ${positional.describe}`, remedy);
  for (const given of positionals) {
    if (given === "") throw usage(`${positional.name} is empty`, remedy);
    if (positional.choices !== undefined && !positional.choices.includes(given))
      throw usage(
        `${positional.name} ${JSON.stringify(given)} is not one of ${positional.choices.join(", ")}.${didYouMean(given, positional.choices)}`,
        remedy,
      );
  }
}
