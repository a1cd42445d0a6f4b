/** One change that the API server saw, in its own order. `event` and `n` are what the object said after it. */
export interface Change {
  readonly object: string;
  readonly event: string;
  readonly n: number;
  readonly kind: "written" | "deleted";
}

/** What an event was to do: each of these objects once, as its `n`-th writer in the order accepted. */
export interface Intended {
  readonly event: string;
  readonly writes: readonly { readonly object: string; readonly n: number }[];
  /** `all`: it completed. `some`: it may have been stopped on its way. `none`: it never began. */
  readonly effect: "all" | "some" | "none";
}

/** One line for each thing that must not be. */
export interface Verdict {
  /** Told as completed, and the API server never saw it. */
  readonly lost: readonly string[];
  /** The same event changed the same object twice. */
  readonly doubled: readonly string[];
  /** A change after one that was accepted later. */
  readonly backwards: readonly string[];
  /** A change that nobody asked for. */
  readonly unasked: readonly string[];
}

/** Holds what the API server saw against what was accepted. Pure. */
export function judgeEffects(changes: readonly Change[], intended: readonly Intended[]): Verdict {
  const wanted = new Map(intended.map((one) => [one.event, one]));
  const seen = new Set<string>();
  const highest = new Map<string, number>();
  const verdict = { lost: [] as string[], doubled: [] as string[], backwards: [] as string[], unasked: [] as string[] };
  for (const { object, event, n, kind } of changes) {
    if (kind === "deleted") continue;
    const what = `${object} by event ${event} (n ${n})`;
    const wish = wanted.get(event);
    if (wish === undefined || wish.effect === "none" || !wish.writes.some((write) => write.object === object && write.n === n))
      verdict.unasked.push(what);
    const key = `${object} ${event}`;
    if (seen.has(key)) verdict.doubled.push(what);
    seen.add(key);
    const before = highest.get(object) ?? -1;
    if (n < before) verdict.backwards.push(`${what} after n ${before}`);
    highest.set(object, Math.max(n, before));
  }
  for (const { event, writes, effect } of intended)
    if (effect === "all")
      for (const { object, n } of writes) if (!seen.has(`${object} ${event}`)) verdict.lost.push(`${object} by event ${event} (n ${n})`);
  return verdict;
}
