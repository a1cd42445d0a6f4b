export interface EventuallyOptions {
  readonly timeoutMs?: number;
  readonly everyMs?: number;
  /** What was waited for, for the message. */
  readonly what?: string;
}

/**
 * Asks until the answer is neither false, null nor undefined, and gives that answer. A throw (a failed `expect`, a refused connection)
 * counts as "not yet"; a function of nothing but `expect`s ends with `return true`. When time is up it fails with the last throw, or says that the condition never held.
 */
export async function eventually<T extends object | string | number | boolean | null | undefined>(
  ask: () => T | Promise<T>,
  options: EventuallyOptions = {},
): Promise<Exclude<T, false | null | undefined>> {
  const timeoutMs = options.timeoutMs ?? 10_000;
  const deadlineMs = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== false && answer !== null && answer !== undefined) return answer as unknown as Exclude<T, false | null | undefined>;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadlineMs) {
      const why = last instanceof Error ? `: ${last.message}` : "";
      throw new Error(`${options.what ?? "the condition"} did not come true within ${timeoutMs} ms${why}`, { cause: last });
    }
    await Bun.sleep(options.everyMs ?? 10);
  }
}
