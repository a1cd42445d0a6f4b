import { readFileSync } from "node:fs";

/** Linux reports CPU time in hundredths of a second, whatever the kernel's own tick is. */
const TICK_US = 10_000;

/** CPU time of a process with all its threads, user and system, in microseconds; from /proc/PID/stat. */
export function cpuUs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name stands in parentheses and may hold anything; utime and stime are the 12th and 13th field after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

export interface Memory {
  /** What is in RAM now, pages of the program's own file included. */
  readonly rssBytes: number;
  /** Of that, what is the process's alone: the heap, stacks, compiled code. */
  readonly anonymousBytes: number;
  /** The most that was ever in RAM. */
  readonly peakBytes: number;
}

export function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const bytes = (field: string): number => {
    const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
    if (kib === undefined) throw new Error(`process ${pid} has no ${field}`);
    return Number(kib) * 1024;
  };
  return { rssBytes: bytes("VmRSS"), anonymousBytes: bytes("RssAnon"), peakBytes: bytes("VmHWM") };
}

/** The most memory of its own that a process had while this was open, as far as twenty looks a second see it. */
export class AnonymousPeak implements Disposable {
  #bytes = 0;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(pid: number) {
    this.#timer = setInterval(() => {
      try {
        this.#bytes = Math.max(this.#bytes, memoryOf(pid).anonymousBytes);
      } catch {
        // It has ended, and what it had is known.
        clearInterval(this.#timer);
      }
    }, 50);
  }

  get bytes(): number {
    return this.#bytes;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** The value below which `share` (0 to 1) of the samples lie: an observed one, never one in between. */
export function percentile(samples: readonly number[], share: number): number {
  if (samples.length === 0) throw new Error("no samples");
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? Number.NaN;
}

export function median(samples: readonly number[]): number {
  return percentile(samples, 0.5);
}
