import { seconds } from "../run.ts";
import { lastWords } from "./last-words.ts";
import type { Journey } from "./journey.ts";

export interface Step {
  /** Unique, for people: what is to be true afterwards. */
  readonly name: string;
  /** Why this ground cannot have it; absent or undefined where it can. */
  skip?(journey: Journey): string | undefined;
  /** Does it and looks; gives in a few words what was seen. */
  run(journey: Journey): Promise<string>;
}

/**
 * One step after the other, a line with its time for each. Each stands on what earlier ones made, so the first that fails ends the
 * journey, and what the clusters say about it is printed before anybody takes them down. Gives whether all went well.
 */
export async function walk(
  journey: Journey,
  steps: readonly Step[],
  say: (line: string) => void,
  broken: AbortSignal = new AbortController().signal,
): Promise<boolean> {
  for (const [index, step] of steps.entries()) {
    if (broken.aborted) return false;
    const reason = step.skip?.(journey);
    if (reason !== undefined) {
      say(`skip          ${step.name}: ${reason}`);
      continue;
    }
    const startedMs = performance.now();
    try {
      const seen = await step.run(journey);
      say(`ok   ${seconds(startedMs).padStart(7)}  ${step.name}${seen === "" ? "" : `: ${seen}`}`);
    } catch (error) {
      // What was broken off fails too, and that is nobody's news.
      if (broken.aborted) return false;
      say(`FAIL ${seconds(startedMs).padStart(7)}  ${step.name}: ${error instanceof Error ? error.message : String(error)}`);
      for (const later of steps.slice(index + 1)) say(`not reached   ${later.name}`);
      say(await lastWords(journey));
      return false;
    }
  }
  return true;
}
