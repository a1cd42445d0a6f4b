/**
 * Lets at most `size` tasks run at a time, first come, first served. The runtime lets 256 requests out and hangs the next without a
 * word, so nothing here relies on it.
 */
export class Limiter {
  #size: number;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(size: number) {
    this.#size = size;
  }

  /** Resolves to the function that gives the place back; rejects with the signal's reason when it is aborted while waiting. */
  async acquire(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#running < this.#size) {
      this.#running += 1;
      return this.#releaser();
    }
    return new Promise((resolve, reject) => {
      const start = (): void => {
        signal?.removeEventListener("abort", cancel);
        resolve(this.#releaser());
      };
      const cancel = (): void => {
        const at = this.#waiting.indexOf(start);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(signal?.reason as Error);
      };
      this.#waiting.push(start);
      signal?.addEventListener("abort", cancel, { once: true });
    });
  }

  /** From now on at most so many; who runs already is not stopped. */
  resize(size: number): void {
    this.#size = size;
    while (this.#running < this.#size) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#running += 1;
      next();
    }
  }

  #releaser(): () => void {
    let released = false;
    return () => {
      if (released) return;
      released = true;
      // Where there are fewer places than before, this one is gone.
      const next = this.#running > this.#size ? undefined : this.#waiting.shift();
      // The place is handed over, so the count stays.
      if (next === undefined) this.#running -= 1;
      else next();
    };
  }
}

/** Runs `task` over all items, at most `width` at a time, in order of start. Stops starting new ones once one has thrown. */
export async function forEachLimited<T>(items: readonly T[], width: number, task: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (!failed) {
      const item = items[next];
      if (next >= items.length || item === undefined) return;
      next += 1;
      try {
        await task(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: Math.min(width, items.length) }, worker));
  for (const one of ended) if (one.status === "rejected") throw one.reason;
}
