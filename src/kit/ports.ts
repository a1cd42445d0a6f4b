/** Time as the program sees it. The simulation and the tests hand in their own. */
export interface Clock {
  /** Milliseconds since the epoch; may jump. */
  now(): number;
  /** Milliseconds since some fixed moment; never goes back. For durations. */
  monotonic(): number;
}

export interface TimerHandle {
  cancel(): void;
}

export interface Timers {
  /** Runs once after at least `ms`. Does not keep the process alive when `background` is set. */
  after(ms: number, run: () => void, options?: { readonly background?: boolean }): TimerHandle;
  /** Runs every `ms` until cancelled. */
  every(ms: number, run: () => void, options?: { readonly background?: boolean }): TimerHandle;
  /** Runs when the present turn of the event loop is over, after what is already queued. */
  soon(run: () => void): void;
  /** Resolves after `ms`; rejects with the signal's reason when it is aborted first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Random {
  /** From 0 (with) to 1 (without). Not for secrets. */
  float(): number;
}

export interface Ids {
  /** A new UUID (version 7: they sort by time). */
  uuid(): string;
}

/** What a composition root hands to everybody. */
export interface Ports {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly ids: Ids;
}

const MAX_TIMEOUT_MS = 2_147_483_647;

const systemClock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

const systemTimers: Timers = {
  after(ms, run, options) {
    const timer = setTimeout(run, Math.min(Math.max(0, ms), MAX_TIMEOUT_MS));
    if (options?.background === true) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  every(ms, run, options) {
    const timer = setInterval(run, ms);
    if (options?.background === true) timer.unref();
    return { cancel: () => clearInterval(timer) };
  },
  soon(run) {
    setImmediate(run);
  },
  sleep(ms, signal) {
    return new Promise<void>((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason as Error);
        return;
      }
      const onAbort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason as Error);
      };
      const timer = setTimeout(
        () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        },
        Math.min(Math.max(0, ms), MAX_TIMEOUT_MS),
      );
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  },
};

/** The machine's own clock, timers, randomness and ids. Only composition roots and tests against real parts use them. */
export const systemPorts: Ports = {
  clock: systemClock,
  timers: systemTimers,
  random: { float: () => Math.random() },
  ids: { uuid: () => Bun.randomUUIDv7() },
};
