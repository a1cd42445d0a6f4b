import type { Ports, TimerHandle } from "./ports.ts";

export interface ManualPorts {
  readonly ports: Ports;
  /** Lets time pass: runs what falls due, in order, and lets promises settle in between. */
  advance(ms: number): Promise<void>;
  /** Lets promises settle without any time passing. */
  settle(): Promise<void>;
  /** Moves the wall clock alone, as somebody who sets it does. */
  setWallClock(ms: number): void;
  /** Timers that have not run and were not cancelled. */
  readonly pending: number;
}

interface Entry {
  readonly dueMs: number;
  readonly order: number;
  readonly run: () => void;
}

async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await Promise.resolve();
}

/** Time, timers, randomness and ids in the hands of a test or of the simulation. Random answers `random` each time (0.5 by default); ids count up. */
export function manualPorts(options: { readonly startMs?: number; readonly random?: () => number } = {}): ManualPorts {
  const origin = options.startMs ?? Date.parse("2026-01-01T00:00:00Z");
  let elapsedMs = 0;
  let shiftMs = 0;
  let order = 0;
  let ids = 0;
  const entries = new Set<Entry>();
  const add = (ms: number, run: () => void): Entry => {
    order += 1;
    const entry = { dueMs: elapsedMs + Math.max(0, ms), order, run };
    entries.add(entry);
    return entry;
  };
  const after = (ms: number, run: () => void): TimerHandle => {
    const entry = add(ms, run);
    return { cancel: () => void entries.delete(entry) };
  };
  const ports: Ports = {
    clock: { now: () => origin + shiftMs + elapsedMs, monotonic: () => elapsedMs },
    timers: {
      after,
      every(ms, run) {
        let current: TimerHandle;
        const again = (): void => {
          current = after(ms, again);
          run();
        };
        current = after(ms, again);
        return { cancel: () => current.cancel() };
      },
      soon: (run) => void after(0, run),
      sleep(ms, signal) {
        return new Promise((resolve, reject) => {
          if (signal?.aborted === true) {
            reject(signal.reason as Error);
            return;
          }
          const timer = after(ms, resolve);
          signal?.addEventListener("abort", () => {
            timer.cancel();
            reject(signal.reason as Error);
          });
        });
      },
    },
    random: { float: options.random ?? (() => 0.5) },
    ids: {
      uuid() {
        ids += 1;
        return `id-${ids}`;
      },
    },
  };
  return {
    ports,
    settle,
    setWallClock(ms) {
      shiftMs = ms - origin - elapsedMs;
    },
    get pending() {
      return entries.size;
    },
    async advance(ms) {
      const untilMs = elapsedMs + ms;
      await settle();
      for (;;) {
        let next: Entry | undefined;
        for (const entry of entries) {
          if (entry.dueMs > untilMs) continue;
          if (next === undefined || entry.dueMs < next.dueMs || (entry.dueMs === next.dueMs && entry.order < next.order)) next = entry;
        }
        if (next === undefined) break;
        entries.delete(next);
        elapsedMs = Math.max(elapsedMs, next.dueMs);
        next.run();
        await settle();
      }
      elapsedMs = untilMs;
      await settle();
    },
  };
}
