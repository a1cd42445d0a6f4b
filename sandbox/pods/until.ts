import type { Children } from "../children.ts";

/** Asks until the answer is neither absent nor false nor zero; says which program died, or what did not come in time. */
export async function until<T>(
  what: string,
  children: Children,
  ask: () => Promise<T | undefined | false | 0>,
  timeoutMs = 120_000,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false && answer !== 0) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    const [dead] = children.ended;
    if (dead !== undefined) throw new Error(`${dead.name} ended while we waited for ${what}:\n${await dead.lastLines()}`);
    if (performance.now() > deadlineMs)
      throw new Error(`${what} did not come within ${timeoutMs / 1000} s${last instanceof Error ? `: ${last.message}` : ""}`);
    await Bun.sleep(25);
  }
}
