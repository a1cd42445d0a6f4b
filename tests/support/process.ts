import { existsSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "bun:test";
import { Watchdog } from "../../sandbox/mod.ts";
import { eventually } from "./eventually.ts";
import { SKIP_KUBE } from "./kube.ts";

const ROOT = resolve(import.meta.dir, "../..");
const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");

/** Where `bun run build` puts the executable; TRANSPORTER_EXECUTABLE names another one that is to be tried. */
export const EXECUTABLE_PATH: string = process.env["TRANSPORTER_EXECUTABLE"] ?? join(ROOT, "transporter");

let saidMissing = false;

/** `test` for what needs the compiled executable; under CI a missing one is a failure. */
export function compiledTest(name: string, run: () => Promise<void>, timeoutMs = 60_000): void {
  test.skipIf(executableMissing())(name, run, timeoutMs);
}

/** `compiledTest` for what needs a real API server as well. */
export function compiledKubeTest(name: string, run: () => Promise<void>, timeoutMs = 120_000): void {
  test.skipIf(executableMissing() || SKIP_KUBE)(name, run, timeoutMs);
}

/** Said once, and loudly. Never true under CI: there the missing executable is a failure. */
function executableMissing(): boolean {
  const missing = !existsSync(EXECUTABLE_PATH) && !IN_CI;
  if (missing && !saidMissing) console.warn("\nSKIPPED: tests of the compiled executable. `bun run build` makes it.\n");
  saidMissing ||= missing;
  return missing;
}

export interface ProcessOptions {
  /** Added to PATH and HOME; nothing else is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** An empty one of its own by default, removed at the end; give one to keep state over a restart. */
  readonly home?: string;
  readonly input?: string;
}

export interface CliOptions extends ProcessOptions {
  /** The compiled executable instead of the source. */
  readonly compiled?: boolean;
}

export interface RunResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningProcess extends AsyncDisposable {
  readonly pid: number;
  readonly home: string;
  readonly exited: Promise<number>;
  /** What ended it, when a signal did. */
  signal(): string | undefined;
  /** What it wrote so far. */
  stdout(): string;
  stderr(): string;
  /** Waits for a line, of either stream and also among those already written, and gives the match. Fails at once when the process has ended. */
  line(pattern: RegExp, options?: { readonly timeoutMs?: number }): Promise<RegExpExecArray>;
  /** Signals the whole process group and waits for the end of the process; SIGKILL by default. */
  kill(signal?: NodeJS.Signals): Promise<number>;
}

let watchdog: Watchdog | undefined;

/** Starts a program in a process group of its own; it ends on dispose, and with the test process whatever happens. */
export async function startProcess(command: readonly string[], options: ProcessOptions = {}): Promise<RunningProcess> {
  watchdog ??= new Watchdog();
  const ownHome = options.home === undefined ? await mkdtemp(join(await realpath(tmpdir()), "transporter-test-")) : undefined;
  const home = options.home ?? ownHome ?? ROOT;
  const child = Bun.spawn([...command], {
    cwd: options.cwd ?? home,
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: home, ...options.env },
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
  child.unref();
  watchdog.add(child.pid);
  void child.exited.then(() => watchdog?.drop(child.pid));
  const stdout = collect(child.stdout);
  const stderr = collect(child.stderr);
  const exited = Promise.all([child.exited, stdout.done, stderr.done]).then(([code]) => code);
  const kill = async (signal: NodeJS.Signals = "SIGKILL"): Promise<number> => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // ESRCH: it has ended already.
    }
    return child.exited;
  };
  const everything = (): string => `--- stdout\n${stdout.text()}\n--- stderr\n${stderr.text()}`;
  return {
    pid: child.pid,
    home,
    exited,
    signal: () => (child.signalCode === null ? undefined : String(child.signalCode)),
    stdout: () => stdout.text(),
    stderr: () => stderr.text(),
    kill,
    async line(pattern, { timeoutMs = 15_000 } = {}) {
      const find = (): RegExpExecArray | undefined => {
        for (const line of [...stdout.text().split("\n"), ...stderr.text().split("\n")]) {
          pattern.lastIndex = 0;
          const match = pattern.exec(line);
          if (match !== null) return match;
        }
        return undefined;
      };
      const found = await eventually(() => find() ?? (child.exitCode === null && child.signalCode === null ? undefined : "ended"), {
        timeoutMs,
        what: `a line that matches ${pattern}`,
      }).catch((error: unknown) => {
        throw new Error(`${error instanceof Error ? error.message : String(error)}\n${everything()}`);
      });
      if (found !== "ended") return found;
      await exited;
      const late = find();
      if (late === undefined)
        throw new Error(`it ended (${child.exitCode ?? child.signalCode}) without a line that matches ${pattern}\n${everything()}`);
      return late;
    },
    async [Symbol.asyncDispose]() {
      await kill("SIGKILL");
      if (ownHome !== undefined) await rm(ownHome, { recursive: true, force: true });
    },
  };
}

function collect(stream: ReadableStream<Uint8Array>): { text: () => string; done: Promise<void> } {
  const decoder = new TextDecoder();
  let text = "";
  const read = async (): Promise<void> => {
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  };
  // A stream that breaks off with its process is an end, not an error.
  return { text: () => text, done: read().catch(() => undefined) };
}

/** The command line that starts `transporter`, from source or compiled. */
export function transporterCommand(args: readonly string[], compiled = false): string[] {
  return compiled ? [EXECUTABLE_PATH, ...args] : [process.execPath, join(ROOT, "bin", "transporter.ts"), ...args];
}

/** Starts `transporter …` and leaves it running. */
export function startTransporter(args: readonly string[], options: CliOptions = {}): Promise<RunningProcess> {
  return startProcess(transporterCommand(args, options.compiled), options);
}

/** Runs `transporter …` to its end. */
export async function runTransporter(
  args: readonly string[],
  options: CliOptions & { readonly timeoutMs?: number } = {},
): Promise<RunResult> {
  await using running = await startTransporter(args, options);
  const timeoutMs = options.timeoutMs ?? 30_000;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`transporter ${args.join(" ")} still ran after ${timeoutMs} ms\n${running.stdout()}\n${running.stderr()}`)),
      timeoutMs,
    );
  });
  try {
    const exitCode = await Promise.race([running.exited, late]);
    return { exitCode, stdout: running.stdout(), stderr: running.stderr() };
  } finally {
    clearTimeout(timer);
  }
}
