import { createConsola, LogLevels, type ConsolaReporter } from "consola";
import { isSecretName, isSuspiciousJson, redact, REDACTED, redactText } from "../redaction/mod.ts";

export type LogFields = Readonly<Record<string, unknown>>;

/** Messages are fixed texts that people grep for; everything that varies is a field. Every field passes redaction. */
export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds these fields to every line. */
  with(fields: LogFields): Logger;
}

export interface LogOptions {
  /** `text` for people on a terminal, `json` (one object a line) for machines. */
  readonly format: "text" | "json";
  readonly debug: boolean;
  readonly color: boolean;
  /** Receives finished lines without their newline. Logs go to standard error: standard output is for data. */
  readonly write: (line: string) => void;
  readonly now: () => number;
}

type Level = "debug" | "info" | "warn" | "error";
const LEVEL_NAMES: Readonly<Record<Level, string>> = { debug: "debug", info: "info", warn: "warning", error: "error" };
const COLORS: Readonly<Record<Level, string>> = { debug: "\u001b[90m", info: "\u001b[36m", warn: "\u001b[33m", error: "\u001b[31m" };

function fieldText(value: unknown): string {
  if (typeof value === "string") return /^[\w./:@+-]+$/.test(value) ? value : JSON.stringify(value);
  return JSON.stringify(value) ?? "undefined";
}

/** Removes what could move a terminal's cursor or forge a line: ids and messages come from strangers. */
function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

export function createLogger(options: LogOptions): Logger {
  const write = options.format === "json" ? jsonWriter(options) : textWriter(options);
  const make = (base: LogFields | undefined): Logger => {
    const emit = (level: Level, message: string, fields?: LogFields): void => {
      if (level === "debug" && !options.debug) return;
      write(level, message, base === undefined ? (fields ?? NONE) : { ...base, ...fields });
    };
    return {
      debug: (message, fields) => emit("debug", message, fields),
      info: (message, fields) => emit("info", message, fields),
      warn: (message, fields) => emit("warn", message, fields),
      error: (message, fields) => emit("error", message, fields),
      with: (fields) => make({ ...base, ...fields }),
    };
  };
  return make(undefined);
}

type Write = (level: Level, message: string, fields: LogFields) => void;
const NONE: LogFields = {};

/** For people. */
function textWriter(options: LogOptions): Write {
  const reporter: ConsolaReporter = {
    log(entry) {
      const [level, message, fields] = entry.args as [Level, string, LogFields];
      const clean = redact(fields) as Record<string, unknown>;
      const time = new Date(options.now()).toISOString();
      const pairs = Object.entries(clean)
        .filter(([, value]) => value !== undefined)
        .map(([key, value]) => `${key}=${fieldText(value)}`);
      const name = LEVEL_NAMES[level].toUpperCase().padEnd(7);
      const painted = options.color ? `${COLORS[level]}${name}\u001b[0m` : name;
      options.write(
        `${time.slice(11, 23)} ${painted} ${oneLine(redactText(message))}${pairs.length > 0 ? `  ${oneLine(pairs.join(" "))}` : ""}`,
      );
    },
  };
  const consola = createConsola({ level: options.debug ? LogLevels.debug : LogLevels.info, reporters: [reporter], throttle: 0 });
  return (level, message, fields) => consola[level](level, message, fields);
}

/** Names of fields and messages are fixed texts of the program, so what they look like in JSON is worth keeping; bounded all the same. */
const KEPT_TEXTS = 2_000;
const RESERVED: ReadonlySet<string> = new Set(["time", "level", "message"]);

interface FieldStart {
  /** `,"name":`; a name that the line itself uses gets an underscore. */
  readonly text: string;
  readonly secret: boolean;
  /** The name stands as it is and says nothing against its value. */
  readonly plain: boolean;
}

function fieldStart(name: string): FieldStart {
  const [reserved, secret] = [RESERVED.has(name), isSecretName(name)];
  return { text: `,${JSON.stringify(reserved ? `${name}_` : name)}:`, secret, plain: !reserved && !secret };
}

/** One object a line for machines, put together by hand: a busy control plane writes three lines for each event. */
function jsonWriter(options: LogOptions): Write {
  const starts = new Map<string, FieldStart>();
  const messages = new Map<string, string>();
  let timeMs = Number.NaN;
  let time = "";
  const startOf = (name: string): FieldStart => {
    let start = starts.get(name);
    if (start === undefined) {
      start = fieldStart(name);
      if (starts.size < KEPT_TEXTS) starts.set(name, start);
    }
    return start;
  };
  /** All fields in one go, which costs a third; undefined where one of them has to be looked at more closely. */
  const together = (fields: LogFields): string | undefined => {
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      if (typeof value !== "string" && typeof value !== "number" && value !== undefined) return undefined;
      if (!startOf(name).plain) return undefined;
    }
    const text = JSON.stringify(fields);
    return isSuspiciousJson(text) ? undefined : text;
  };
  return (level, message, fields) => {
    const nowMs = options.now();
    if (nowMs !== timeMs) {
      timeMs = nowMs;
      time = new Date(nowMs).toISOString();
    }
    let shown = messages.get(message);
    if (shown === undefined) {
      shown = JSON.stringify(redactText(message));
      if (messages.size < KEPT_TEXTS) messages.set(message, shown);
    }
    let line = `{"time":"${time}","level":"${LEVEL_NAMES[level]}","message":${shown}`;
    const all = together(fields);
    if (all !== undefined) {
      options.write(all === "{}" ? `${line}}` : `${line},${all.slice(1)}`);
      return;
    }
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      if (value === undefined) continue;
      const start = startOf(name);
      if (start.secret && value !== "" && value !== null) line += `${start.text}"${REDACTED}"`;
      else {
        const text = typeof value === "string" ? JSON.stringify(redactText(value)) : JSON.stringify(redact(value));
        if (text !== undefined) line += start.text + text;
      }
    }
    options.write(`${line}}`);
  };
}

/** Says nothing; for tests of parts that log. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLogger,
};
