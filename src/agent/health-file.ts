import { mkdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";

export const HEALTH = {
  /** Between two writings. */
  everyMs: 5_000,
  /** Older than this, and the event loop that should have written stands still. */
  staleMs: 15_000,
} as const;

/** What a process says of itself. */
export interface HealthReport {
  readonly ready: boolean;
  /** One line for people: why it is not ready, or what it is ready for. */
  readonly summary: string;
  readonly details: Readonly<Record<string, unknown>>;
}

export interface HealthFileOptions {
  readonly path: string;
  readonly report: () => HealthReport;
  readonly ports: Pick<Ports, "clock" | "timers">;
  readonly log: Logger;
}

/**
 * Keeps a file for probes that can only run a program. It is written by the event loop itself, so that its age tells whether that turns, and
 * replaced in one step, so that nobody reads half of it.
 */
export class HealthFile {
  readonly #options: HealthFileOptions;
  #timer: TimerHandle | undefined;
  #writing: Promise<void> | undefined;
  /** Something changed while it was being written. */
  #again = false;
  #failing = false;

  constructor(options: HealthFileOptions) {
    this.#options = options;
  }

  /** Resolves when it was written for the first time, or could not be. */
  async start(): Promise<void> {
    await mkdir(dirname(this.#options.path), { recursive: true }).catch(() => undefined);
    this.#timer = this.#options.ports.timers.every(HEALTH.everyMs, () => this.touch(), { background: true });
    this.touch();
    await this.#writing;
  }

  /** Writes now, for what nobody should have to wait for. */
  touch(): void {
    if (this.#timer === undefined) return;
    this.#again = this.#writing !== undefined;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#again) this.touch();
    });
  }

  /** Nobody is there any more whose health it could be. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#writing;
    await rm(this.#options.path, { force: true }).catch(() => undefined);
  }

  async #write(): Promise<void> {
    const { path, report, ports, log } = this.#options;
    const now = ports.clock.now();
    try {
      const text = `${JSON.stringify({ version: 1, ...(await thisProcess()), written_at_ms: Math.round(now), stale_after_ms: HEALTH.staleMs, ...report() })}\n`;
      await writeFile(`${path}.new`, text, { mode: 0o644 });
      await rename(`${path}.new`, path);
      if (this.#failing) log.info("The health file is written again", { path });
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) log.warn("The health file cannot be written", { path, error: messageOf(error) });
      this.#failing = true;
      // A full disk takes no file, and a restart would not empty it: that the event loop turns can be told all the same.
      await utimes(path, now / 1000, now / 1000).catch(() => undefined);
    }
  }
}

/** In a container every start is process 1, but no two began in the same tick since the machine started. */
async function thisProcess(): Promise<{ readonly pid: number; readonly started: string }> {
  const { pid } = process;
  try {
    const text = await readFile("/proc/self/stat", "utf8");
    // Behind the name, which stands in parentheses and may hold any.
    return { pid, started: text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "" };
  } catch {
    // Only Linux tells.
    return { pid, started: "" };
  }
}
