import { REASONS, type Leaning, type LeaningReason } from "./leanings.ts";

/** One step of a way on which objects lean on each other: from an object, to what it leans on. */
export interface Step {
  readonly from: number;
  readonly leaning: Leaning;
}

export interface Placing {
  readonly waves: readonly number[];
  /** Of the kinds, as numbers. */
  readonly stages: readonly number[];
  /** Objects that wait for something that is not in the list. */
  readonly held: ReadonlySet<number>;
}

export type Rounds =
  | { readonly rounds: readonly number[]; readonly cycle?: undefined }
  /** Ends where it began; the steps lead from each object to the next. */
  | { readonly cycle: readonly Step[] };

const UNSEEN = -2;
const OPEN = -1;

/**
 * The round of each object in its own wave: 0 where nothing has to be waited for, otherwise one more than what it waits for. What waits for nothing
 * is therefore never held up by what does. Says the cycle where there is one. Without recursion: a chain may be as long as the event.
 */
export function roundsOf(of: readonly (readonly Leaning[])[], { waves, stages, held }: Placing): Rounds {
  const rounds = of.map(() => UNSEEN);
  const atLeast = of.map(() => 0);
  const way: Step[] = [];
  const raise = (from: number, { on, why }: Leaning): void => {
    const { ready, quick } = REASONS[why];
    const inTime = (quick || !ready) && (stages[on] ?? 0) < (stages[from] ?? 0);
    atLeast[from] = Math.max(atLeast[from] ?? 0, (rounds[on] ?? 0) + (inTime ? 0 : 1));
  };
  for (let first = 0; first < of.length; first += 1) {
    if (rounds[first] !== UNSEEN) continue;
    const stack: { readonly at: number; next: number }[] = [{ at: first, next: 0 }];
    rounds[first] = OPEN;
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const { at } = top;
      const leaning = of[at]?.[top.next];
      if (leaning === undefined) {
        rounds[at] = Math.max(atLeast[at] ?? 0, held.has(at) ? 1 : 0);
        stack.pop();
        const step = way.pop();
        if (step !== undefined) raise(step.from, step.leaning);
        continue;
      }
      top.next += 1;
      const { on } = leaning;
      // An earlier wave is ready before anything of a later one.
      if (waves[on] !== waves[at]) continue;
      if (rounds[on] === OPEN) {
        const cycle = [...way, { from: at, leaning }];
        return { cycle: cycle.slice(cycle.findIndex(({ from }) => from === on)) };
      }
      if (rounds[on] !== UNSEEN) {
        raise(at, leaning);
        continue;
      }
      way.push({ from: at, leaning });
      rounds[on] = OPEN;
      stack.push({ at: on, next: 0 });
    }
  }
  return { rounds };
}

const GIVING_WAY: readonly LeaningReason[] = ["webhook", "aggregated_api", "conversion", "backend", "service"];

/** The guess of ours that gives way in a cycle; undefined where all of it has to be. */
export function weakest(cycle: readonly Step[]): Leaning | undefined {
  for (const why of GIVING_WAY) {
    const step = cycle.find(({ leaning }) => leaning.why === why);
    if (step !== undefined) return step.leaning;
  }
  return undefined;
}
