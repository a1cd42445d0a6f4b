import { TransporterError } from "../kit/mod.ts";
import { waveOf } from "./annotations.ts";
import type { Dependency } from "./depends-on.ts";
import { type Arrangeable, dependencyKey, type Leaning, leaningsOf, type LeaningReason, REASONS } from "./leanings.ts";
import { describeRef } from "./object.ts";
import { STAGES, stageOf } from "./order.ts";
import { roundsOf, type Step, weakest } from "./rounds.ts";

/** Objects that lean on nothing of one another, so that they can be applied at the same time. */
export interface Batch<T> {
  readonly objects: readonly T[];
  readonly wave: number;
  /** Batches with the same number differ by the kinds of their objects only. Counts from 0. */
  readonly section: number;
  /** What has to be ready before any of these is begun: of earlier batches, and not of those that an earlier batch awaited. */
  readonly awaits: readonly T[];
  /** The same for what the list does not have. */
  readonly awaitsOutside: readonly Dependency[];
}

/** What an object leans on in the same list, and why. */
export interface LeansOn<T> {
  readonly on: T;
  readonly why: LeaningReason;
}

export interface Arrangement<T> {
  /** First to last. In the opposite order they can be deleted. */
  readonly batches: readonly Batch<T>[];
  readonly leansOn: (one: T) => readonly LeansOn<T>[];
  /** What is named as a dependency and is not in the list, by who depends on it. */
  readonly outside: ReadonlyMap<T, readonly Dependency[]>;
}

/** After so many guesses that had to give way, none is kept. */
const MOST_GUESSES = 20;
/** So many steps of a cycle are told. */
const STEPS_TOLD = 12;

/** For people: `Deployment web/db`. */
export function describeDependency({ kind, namespace, name }: Dependency): string {
  return describeRef({ group: "", version: "", kind, namespace, name });
}

function nameAt(items: readonly Arrangeable[], index: number): string {
  const item = items[index];
  return item === undefined ? "?" : describeRef(item.ref);
}

/** `ConfigMap web/a, which depends on Job web/b, …`, as a sentence. */
function stepText(items: readonly Arrangeable[], { from, leaning: { on, why } }: Step): string {
  const text = `${nameAt(items, from)} `;
  const other = nameAt(items, on);
  switch (why) {
    case "depends_on":
      return `${text}depends on ${other}`;
    case "namespace":
      return `${text}is in ${other}`;
    case "definition":
      return `${text}is of a kind that ${other} defines`;
    default:
      return `${text}needs ${other}`;
  }
}

function cycleError(items: readonly Arrangeable[], cycle: readonly Step[]): TransporterError {
  const told = cycle.slice(0, STEPS_TOLD).map((step) => stepText(items, step));
  const rest = cycle.length - told.length;
  return new TransporterError(
    "DEPENDENCY_CYCLE",
    `objects wait for each other: ${told.join("; ")}${rest > 0 ? `; and ${rest} more steps back to the first` : ""}`,
    { details: { objects: cycle.slice(0, 100).map(({ from }) => nameAt(items, from)) } },
  );
}

function waveError(items: readonly Arrangeable[], step: Step, waves: readonly number[]): TransporterError {
  const { from, leaning } = step;
  const [own, other] = [waves[from] ?? 0, waves[leaning.on] ?? 0];
  return new TransporterError(
    "DEPENDENCY_CYCLE",
    `objects wait for each other: ${stepText(items, step)}, which waits in wave ${other} until all of wave ${own} is ready, and ${nameAt(items, from)} is of wave ${own}`,
    {
      details: { objects: [nameAt(items, from), nameAt(items, leaning.on)] },
      remedy: `Give ${nameAt(items, leaning.on)} a wave of ${own} at most, or ${nameAt(items, from)} one of ${other} at least.`,
    },
  );
}

/** Without what contradicts the waves: an error where it has to be, dropped where it is a guess. */
function withinWaves(items: readonly Arrangeable[], of: readonly (readonly Leaning[])[], waves: readonly number[]): (readonly Leaning[])[] {
  return of.map((leanings, from) => {
    const isLater = ({ on }: Leaning): boolean => (waves[on] ?? 0) > (waves[from] ?? 0);
    if (!leanings.some(isLater)) return leanings;
    const wrong = leanings.find((leaning) => REASONS[leaning.why].hard && isLater(leaning));
    if (wrong !== undefined) throw waveError(items, { from, leaning: wrong }, waves);
    return leanings.filter((leaning) => !isLater(leaning));
  });
}

interface Solved {
  readonly of: readonly (readonly Leaning[])[];
  readonly rounds: readonly number[];
}

/** Rounds, with every guess given up that stands in the way of what has to be. Throws DEPENDENCY_CYCLE. */
function solve(
  items: readonly Arrangeable[],
  leanings: readonly (readonly Leaning[])[],
  waves: readonly number[],
  held: ReadonlySet<number>,
): Solved {
  const stages = items.map(({ ref }) => STAGES.indexOf(stageOf(ref.group, ref.kind)));
  let of = leanings;
  for (let given = 0; ; given += 1) {
    const solved = roundsOf(of, { waves, stages, held });
    if (solved.cycle === undefined) return { of, rounds: solved.rounds };
    const guess = weakest(solved.cycle);
    if (guess === undefined) throw cycleError(items, solved.cycle);
    const isKept = ({ on, why }: Leaning): boolean => REASONS[why].hard || (given < MOST_GUESSES && (on !== guess.on || why !== guess.why));
    of = of.map((own) => (own.every(isKept) ? own : own.filter(isKept)));
  }
}

/** Places with the same wave, round and stage together, in the order of the list. */
function groupPlaces(items: readonly Arrangeable[], waves: readonly number[], rounds: readonly number[]): number[][] {
  const groups = new Map<string, number[]>();
  const keys: { readonly key: string; readonly by: readonly [number, number, number] }[] = [];
  for (const [index, { ref }] of items.entries()) {
    const by = [waves[index] ?? 0, rounds[index] ?? 0, STAGES.indexOf(stageOf(ref.group, ref.kind))] as const;
    const key = by.join("/");
    const group = groups.get(key);
    if (group !== undefined) {
      group.push(index);
      continue;
    }
    groups.set(key, [index]);
    keys.push({ key, by });
  }
  const sorted = keys.toSorted(({ by: a }, { by: b }) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return sorted.map(({ key }) => groups.get(key) ?? []);
}

/** What each batch awaits, so that nothing is awaited twice. */
class Awaiting {
  readonly #of: readonly (readonly Leaning[])[];
  readonly #outside: ReadonlyMap<number, readonly Dependency[]>;
  readonly #leanedOn: ReadonlySet<number>;
  readonly #awaited = new Set<number>();
  readonly #awaitedOutside = new Set<string>();

  constructor(of: readonly (readonly Leaning[])[], outside: ReadonlyMap<number, readonly Dependency[]>) {
    this.#of = of;
    this.#outside = outside;
    const leanedOn = new Set<number>();
    for (const leanings of new Set(of)) for (const { on, why } of leanings) if (REASONS[why].quick && REASONS[why].ready) leanedOn.add(on);
    this.#leanedOn = leanedOn;
  }

  /** Namespaces and definitions of the batch before: what can be judged only when they stand is judged early. */
  quick(before: readonly number[]): number[] {
    return this.#take(before.filter((index) => this.#leanedOn.has(index)));
  }

  all(before: readonly number[]): number[] {
    return this.#take(before);
  }

  needed(batch: readonly number[]): number[] {
    const found: number[] = [];
    for (const leanings of new Set(batch.map((index) => this.#of[index] ?? [])))
      for (const { on, why } of leanings) if (REASONS[why].ready) found.push(...this.#take([on]));
    return found;
  }

  outside(batch: readonly number[]): Dependency[] {
    return batch
      .flatMap((index) => this.#outside.get(index) ?? [])
      .filter((dependency) => {
        const key = dependencyKey(dependency);
        const isNew = !this.#awaitedOutside.has(key);
        this.#awaitedOutside.add(key);
        return isNew;
      });
  }

  #take(indices: readonly number[]): number[] {
    const fresh = indices.filter((index) => !this.#awaited.has(index));
    for (const index of fresh) this.#awaited.add(index);
    return fresh;
  }
}

/**
 * The order in which objects are applied: by waves, each of them ready before the next; within a wave what waits for nothing first, by its kinds, and then what
 * depends on it. Pure. Throws DEPENDENCY_CYCLE that names the way round. `read` says what is known of each.
 */
export function arrange<T>(list: readonly T[], read: (one: T) => Arrangeable): Arrangement<T> {
  const items = list.map(read);
  const { of: leanings, outside } = leaningsOf(items);
  const waves = items.map(({ object }) => (object === undefined ? 0 : waveOf(object)));
  const { of, rounds } = solve(items, withinWaves(items, leanings, waves), waves, new Set(outside.keys()));
  const awaiting = new Awaiting(of, outside);
  const at = (indices: readonly number[]): T[] => indices.flatMap((index) => list[index] ?? []);
  const batches: Batch<T>[] = [];
  let section = 0;
  let before: readonly number[] = [];
  let wholeWave: number[] = [];
  for (const group of groupPlaces(items, waves, rounds)) {
    const [first = 0] = group;
    const [last = first] = before;
    const wave = waves[first] ?? 0;
    const nextWave = wave !== waves[last];
    if (nextWave || rounds[first] !== rounds[last]) section += 1;
    const awaits = [...(nextWave ? awaiting.all(wholeWave) : []), ...awaiting.quick(before), ...awaiting.needed(group)];
    batches.push({ objects: at(group), wave, section, awaits: at(awaits), awaitsOutside: awaiting.outside(group) });
    if (nextWave) wholeWave = [];
    for (const index of group) wholeWave.push(index);
    before = group;
  }
  const places = new Map(list.map((one, index) => [one, index]));
  return {
    batches,
    leansOn: (one) => (of[places.get(one) ?? -1] ?? []).flatMap(({ on, why }) => at([on]).map((found) => ({ on: found, why }))),
    outside: new Map([...outside].flatMap(([index, dependencies]) => at([index]).map((one) => [one, dependencies]))),
  };
}
