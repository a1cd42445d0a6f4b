import type { Ports } from "../kit/mod.ts";
import type { Completes, Origin, Places, Settings, ValuesOf } from "../config/mod.ts";
import type { Host } from "./host.ts";

/** What may stand after the flags. */
export interface Positional {
  /** In capitals, as help shows it. */
  readonly name: string;
  readonly describe: string;
  readonly min: number;
  readonly max: number;
  readonly choices?: readonly string[];
  readonly completes?: Completes;
}

/** One call of a command, with everything it may use. */
export interface Call<S extends Settings> {
  readonly values: ValuesOf<S>;
  readonly origins: Readonly<Record<keyof S & string, Origin>>;
  readonly warnings: readonly string[];
  readonly positionals: readonly string[];
  readonly host: Host;
  readonly ports: Ports;
  readonly places: Places;
  /** Aborted with an Interrupted at Ctrl-C or SIGTERM, unless the command deals with signals itself. */
  readonly signal: AbortSignal;
  /** For people, on standard error, one line. */
  readonly note: (text: string) => void;
}

interface CommandText {
  /** One line for the list of commands. */
  readonly summary: string;
  /** What else there is to know; paragraphs separated by an empty line. */
  readonly description?: string;
  readonly positional?: Positional;
  readonly examples: readonly string[];
}

export interface CommandDefinition<S extends Settings> extends CommandText {
  readonly settings: S;
  /** The command stops cleanly at signals by itself (services do). */
  readonly ownSignals?: true;
  /** Answers the exit code. */
  readonly run: (call: Call<S>) => Promise<number>;
}

/** A command of any settings. */
export interface Command extends CommandText {
  readonly settings: Settings;
  readonly ownSignals?: true;
  readonly run: (call: Call<Settings>) => Promise<number>;
}

/** Declares a command; its `run` sees the values of its own settings, typed. */
export function command<S extends Settings>(definition: CommandDefinition<S>): Command {
  // The dispatcher resolves the very settings that stand here, so the call it makes is one of S.
  return { ...definition, run: (call) => definition.run(call as unknown as Call<S>) };
}

/** Why a command was ended from outside. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly exitCode: number;
  constructor(exitCode: number) {
    super("interrupted");
    this.exitCode = exitCode;
  }
}
