import type { Logger } from "./log.ts";
import { messageOf } from "./error.ts";
import type { Timers } from "./ports.ts";

/**
 * Ends the parts of a program in the reverse of the order in which they were added, each within what is left of one budget, so that
 * SIGTERM always leads to an exit in time. A part that fails or hangs is logged and does not keep the others from ending.
 */
export class Shutdown {
  readonly #parts: { readonly name: string; readonly stop: () => void | Promise<void> }[] = [];
  readonly #log: Logger;
  readonly #timers: Timers;
  #running: Promise<void> | undefined;

  constructor(log: Logger, timers: Timers) {
    this.#log = log;
    this.#timers = timers;
  }

  add(name: string, stop: () => void | Promise<void>): void {
    this.#parts.push({ name, stop });
  }

  /** Safe to call often; every call gets the same promise. */
  run(budgetMs: number): Promise<void> {
    this.#running ??= this.#stopAll(budgetMs);
    return this.#running;
  }

  async #stopAll(budgetMs: number): Promise<void> {
    const expired = new AbortController();
    const budget = this.#timers.after(budgetMs, () => expired.abort(), { background: true });
    const outOfTime = new Promise<"late">((resolve) => expired.signal.addEventListener("abort", () => resolve("late"), { once: true }));
    for (const part of this.#parts.toReversed()) {
      try {
        const ended = await Promise.race([Promise.resolve(part.stop()).then(() => "ended" as const), outOfTime]);
        if (ended === "late") this.#log.warn("Part did not stop in time", { part: part.name });
      } catch (error) {
        this.#log.error("Part failed to stop", { part: part.name, error: messageOf(error) });
      }
    }
    budget.cancel();
  }
}
