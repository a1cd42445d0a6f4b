import { closeSync, openSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { Watchdog } from "./watchdog.ts";

export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<number>;
  readonly running: boolean;
  /** Signals the whole process group. */
  kill(signal: NodeJS.Signals): void;
  /** The last lines of what it wrote, for error messages. */
  lastLines(count?: number): Promise<string>;
}

export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Its output goes to our own terminal instead of its log file. */
  readonly toTerminal?: boolean;
}

/**
 * Background processes that belong to us: each in a process group of its own with its output in a file, all of them ended and the
 * directory removed when we stop or die. None of them keeps our own process alive.
 */
export class Children implements AsyncDisposable {
  readonly directory: string;
  readonly #watchdog: Watchdog;
  readonly #children = new Set<Child>();
  readonly #ended = new Set<Child>();
  #stopping: Promise<void> | undefined;

  /** Takes possession of `directory`: it is removed at the end. */
  constructor(directory: string) {
    this.directory = directory;
    this.#watchdog = new Watchdog(directory);
  }

  /** Those that ended, by themselves or by `kill`, and were not replaced by another of the same name. */
  get ended(): readonly Child[] {
    return [...this.#ended];
  }

  logPath(name: string): string {
    return join(this.directory, "logs", `${name}.log`);
  }

  /** Has a directory of cgroups removed when we die; when we stop, it is the caller's to remove. */
  guardCgroup(path: string): void {
    this.#watchdog.addCgroup(path);
  }

  async spawn(name: string, command: readonly string[], options: SpawnOptions = {}): Promise<Child> {
    await mkdir(join(this.directory, "logs"), { recursive: true });
    const log = openSync(this.logPath(name), "a");
    let running = true;
    const child = Bun.spawn([...command], {
      cwd: options.cwd ?? this.directory,
      // Nothing is inherited: proxies, BUN_OPTIONS or a KUBECONFIG of the user's must not reach a child.
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: this.directory, ...options.env },
      stdin: "ignore",
      stdout: options.toTerminal === true ? "inherit" : log,
      stderr: options.toTerminal === true ? "inherit" : log,
      detached: true,
      onExit: () => {
        running = false;
      },
    });
    closeSync(log);
    child.unref();
    this.#watchdog.add(child.pid);
    const signalGroup = (signal: NodeJS.Signals): void => {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // ESRCH: nobody of the group is left.
      }
    };
    const handle: Child = {
      name,
      pid: child.pid,
      exited: child.exited,
      get running() {
        return running;
      },
      kill: signalGroup,
      lastLines: (count = 15) => lastLinesOf(this.logPath(name), count),
    };
    this.#children.add(handle);
    for (const old of this.#ended) if (old.name === name) this.#ended.delete(old);
    void this.#forget(handle);
    return handle;
  }

  async #forget(child: Child): Promise<void> {
    await child.exited;
    this.#children.delete(child);
    this.#ended.add(child);
    if (this.#stopping === undefined) this.#watchdog.drop(child.pid);
  }

  /** Asks politely first when `graceMs` is given, kills what is left, removes the directory. Safe to call often. */
  stop(graceMs = 0): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Ends them all as `stop` does, and keeps the directory. */
  async end(graceMs = 0): Promise<void> {
    const children = [...this.#children];
    const allExited = Promise.all(children.map((child) => child.exited));
    if (graceMs > 0 && children.length > 0) {
      for (const child of children) child.kill("SIGTERM");
      await Promise.race([allExited, Bun.sleep(graceMs)]);
    }
    for (const child of children) child.kill("SIGKILL");
    await allExited;
  }

  async #stop(graceMs: number): Promise<void> {
    await this.end(graceMs);
    await rm(this.directory, { recursive: true, force: true });
    this.#watchdog.close();
  }
}

async function lastLinesOf(path: string, count: number): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  const lines = text.trimEnd().split("\n").slice(-count);
  return lines.join("\n");
}
