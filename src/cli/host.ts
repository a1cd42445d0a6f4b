import { writeSync } from "node:fs";

/** Where text goes. Writes are whole and in order; nothing is lost when the program ends right after. */
export interface Sink {
  readonly isTerminal: boolean;
  /** Characters that fit a line. */
  columns(): number;
  write(text: string): void;
  writeBytes(bytes: Uint8Array): void;
}

/** The process as the command line sees it; tests hand in their own. */
export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Data. */
  readonly out: Sink;
  /** Everything else. */
  readonly err: Sink;
  readonly stdin: () => AsyncIterable<Uint8Array>;
  readonly stdinIsTerminal: () => boolean;
  /** One line typed at the terminal, not shown; `ask` is called once that is so. Rejects with the signal's reason. */
  readonly readHidden: (ask: () => void, signal: AbortSignal) => Promise<string>;
  /** Calls back at each SIGINT or SIGTERM until the answer is called. */
  readonly onSignal: (handler: (signal: "SIGINT" | "SIGTERM") => void) => () => void;
  /** Calls back at each SIGHUP until the answer is called; without it SIGHUP ends the process. */
  readonly onHangup: (handler: () => void) => () => void;
  /** Ends the process now; for a second Ctrl-C. */
  readonly exitNow: (code: number) => void;
  /** Ends the process now without any tidying up, as SIGKILL does; for failpoints. */
  readonly killSelf: () => void;
  /** For the few settings that libraries and the runtime read from the environment themselves. */
  readonly setEnv: (name: string, value: string) => void;
}

/** The reader of standard output went away: there is nobody left to tell anything. */
export class BrokenPipe extends Error {
  override readonly name = "BrokenPipe";
}

function errnoOf(error: unknown): string | undefined {
  return typeof error === "object" && error !== null && "code" in error ? String(error.code) : undefined;
}

// Synchronous on purpose: a pipe takes everything before the exit, and a closed one is noticed at the write that it spoils.
function writeAll(fd: number, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.length) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if (errnoOf(error) !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}

function encode(text: string): Uint8Array {
  return Buffer.from(text, "utf8");
}

function toOut(bytes: Uint8Array): void {
  try {
    writeAll(1, bytes);
  } catch (error) {
    if (errnoOf(error) === "EPIPE") throw new BrokenPipe();
    throw error;
  }
}

function toErr(bytes: Uint8Array): void {
  try {
    writeAll(2, bytes);
  } catch {
    // Nobody listens to complaints; the work and its exit code matter still.
  }
}

// Loaded only when somebody asks: it is a third of the time that `--version` takes.
function isTerminal(fd: number): boolean {
  return process.getBuiltinModule("node:tty").isatty(fd);
}

function columnsOf(stream: { readonly columns?: number }): number {
  const { columns } = stream;
  return columns === undefined || columns < 20 ? 80 : columns;
}

/** The real process. `exitNow` comes from the one file that may exit. */
export function systemHost(exitNow: (code: number) => void): Host {
  return {
    env: process.env,
    out: {
      get isTerminal() {
        return isTerminal(1);
      },
      columns: () => (isTerminal(1) ? columnsOf(process.stdout) : 80),
      write: (text) => toOut(encode(text)),
      writeBytes: toOut,
    },
    err: {
      get isTerminal() {
        return isTerminal(2);
      },
      columns: () => (isTerminal(2) ? columnsOf(process.stderr) : 80),
      write: (text) => toErr(encode(text)),
      writeBytes: toErr,
    },
    stdin: () => Bun.stdin.stream(),
    stdinIsTerminal: () => isTerminal(0),
    readHidden: async (ask, signal) => (await import("./hidden-line.ts")).readHiddenLine(ask, signal),
    onSignal(handler) {
      const onInt = (): void => handler("SIGINT");
      const onTerm = (): void => handler("SIGTERM");
      process.on("SIGINT", onInt);
      process.on("SIGTERM", onTerm);
      return () => {
        process.off("SIGINT", onInt);
        process.off("SIGTERM", onTerm);
      };
    },
    onHangup(handler) {
      process.on("SIGHUP", handler);
      return () => process.off("SIGHUP", handler);
    },
    exitNow,
    killSelf: () => void process.kill(process.pid, "SIGKILL"),
    setEnv(name, value) {
      process.env[name] = value;
    },
  };
}

/** Whether a sink wants colour: a terminal that is not dumb, and nobody said NO_COLOR. Source: https://no-color.org */
export function wantsColor(sink: Sink, env: Host["env"]): boolean {
  return sink.isTerminal && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
}
