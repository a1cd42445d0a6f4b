import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { messageOf } from "./error.ts";
import type { Logger } from "./log.ts";
import type { Ports, TimerHandle } from "./ports.ts";

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
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
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
      const text = `${JSON.stringify({ version: 1, ...(await thisProcess()), written_at_ms: Math.round(now), ...report() })}\n`;
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

export interface HealthVerdict {
  readonly ok: boolean;
  readonly text: string;
}

/** What the file at `path` says; `live` asks only whether who writes it still turns. */
export async function judgeHealthFile(path: string, asked: "live" | "ready", nowMs: number): Promise<HealthVerdict> {
  let text: string;
  let touchedMs: number;
  try {
    [text, { mtimeMs: touchedMs }] = await Promise.all([readFile(path, "utf8"), stat(path)]);
  } catch (error) {
    return no(isAbsent(error) ? `${path} is not there: nothing has started that writes it` : `${path} cannot be read: ${messageOf(error)}`);
  }
  const record = recordOf(text);
  if (record === undefined) return no(`${path} is no health file`);
  const there = await processAt(record.pid);
  if (there === "gone" || (there !== "unknown" && there.started !== record.started))
    return no(`${path} is of an earlier start: process ${record.pid} of then has ended`);
  if (there !== "unknown" && /^[TtZXx]$/.test(there.state))
    return no(`process ${record.pid} ${/^[Tt]$/.test(there.state) ? "is stopped" : "has ended"}`);
  // The clock may have been set, and a file system of elsewhere has one of its own.
  const aliveMs = touchedMs <= nowMs ? Math.max(touchedMs, record.writtenAtMs) : record.writtenAtMs;
  const ageMs = nowMs - aliveMs;
  if (ageMs < -HEALTH.staleMs) return no(`${path} was written ${seconds(-ageMs)} from now: the clock was set back`);
  if (ageMs > HEALTH.staleMs) return no(`process ${record.pid} hangs: it last wrote ${path} ${seconds(ageMs)} ago`);
  if (asked === "live") return { ok: true, text: `process ${record.pid} wrote ${path} ${seconds(Math.max(0, ageMs))} ago` };
  return { ok: record.ready, text: record.summary };
}

function no(text: string): HealthVerdict {
  return { ok: false, text };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

function isAbsent(error: unknown): boolean {
  return typeof error === "object" && error !== null && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

interface HealthRecord {
  readonly pid: number;
  readonly started: string;
  readonly writtenAtMs: number;
  readonly ready: boolean;
  readonly summary: string;
}

function recordOf(text: string): HealthRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { pid, started, written_at_ms: writtenAtMs, ready, summary } = value as Readonly<Record<string, unknown>>;
  return Number.isSafeInteger(pid) &&
    typeof pid === "number" &&
    typeof started === "string" &&
    typeof writtenAtMs === "number" &&
    typeof ready === "boolean" &&
    typeof summary === "string"
    ? { pid, started, writtenAtMs, ready, summary }
    : undefined;
}

interface SeenProcess {
  /** One letter, as /proc has it. */
  readonly state: string;
  /** Ticks since the machine started: in a container every start is process 1, but no two began in the same moment. */
  readonly started: string;
}

/** Behind the name, which stands in parentheses and may hold any: the state is the first field, the start the twentieth. */
function statOf(text: string): SeenProcess {
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", started: fields[19] ?? "" };
}

async function thisProcess(): Promise<{ readonly pid: number; readonly started: string }> {
  const { pid } = process;
  try {
    return { pid, started: statOf(await readFile("/proc/self/stat", "utf8")).started };
  } catch {
    // Only Linux tells.
    return { pid, started: "" };
  }
}

async function processAt(pid: number): Promise<SeenProcess | "gone" | "unknown"> {
  try {
    return statOf(await readFile(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return (await stat("/proc/self/stat").catch(() => undefined)) === undefined ? "unknown" : "gone";
  }
}
