import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Host, main } from "../../src/cli/mod.ts";

export interface CliRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: string | (() => AsyncIterable<Uint8Array>);
  /** Both streams are terminals of this many columns. */
  readonly terminal?: number;
  /** Standard input is a terminal as well, and this is what is typed there when something hidden is asked for. */
  readonly typed?: string;
}

export interface RunningCli {
  readonly ended: Promise<CliRun>;
  readonly out: () => string;
  readonly err: () => string;
  signal(name: "SIGINT" | "SIGTERM"): void;
}

async function* textStream(text: string): AsyncGenerator<Uint8Array> {
  yield new TextEncoder().encode(text);
}

/** The command line in this process, with streams and environment of the test's own. */
export function startCli(argv: readonly string[], options: CliOptions = {}): RunningCli {
  const env: Record<string, string | undefined> = { ...options.env };
  const texts = { out: "", err: "" };
  const handlers = new Set<(signal: "SIGINT" | "SIGTERM") => void>();
  const sink = (name: "out" | "err"): Host["out"] => ({
    isTerminal: options.terminal !== undefined,
    columns: () => options.terminal ?? 80,
    write: (text) => void (texts[name] += text),
    writeBytes: (bytes) => void (texts[name] += new TextDecoder("latin1").decode(bytes)),
  });
  const forced = Promise.withResolvers<number>();
  const host: Host = {
    env,
    out: sink("out"),
    err: sink("err"),
    stdin: typeof options.stdin === "function" ? options.stdin : () => textStream(typeof options.stdin === "string" ? options.stdin : ""),
    stdinIsTerminal: () => options.typed !== undefined,
    readHidden: async (ask) => {
      ask();
      return options.typed ?? "";
    },
    onHangup: () => () => undefined,
    onSignal(handler) {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    exitNow: (code) => forced.resolve(code),
    killSelf: () => forced.resolve(137),
    setEnv(name, value) {
      env[name] = value;
    },
  };
  const ended = Promise.race([main(argv, host), forced.promise]).then((code) => ({ code, ...texts }));
  return {
    ended,
    out: () => texts.out,
    err: () => texts.err,
    signal(name) {
      for (const handler of handlers) handler(name);
    },
  };
}

export function runCli(argv: readonly string[], options: CliOptions = {}): Promise<CliRun> {
  return startCli(argv, options).ended;
}

export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
  file(name: string, content: string): Promise<string>;
}

/** A directory that is gone at the end of the test. */
export async function temporaryDirectory(): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(await realpath(tmpdir()), "transporter-cli-"));
  return {
    path,
    async file(name, content) {
      const target = join(path, name);
      await Bun.write(target, content);
      return target;
    },
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}
