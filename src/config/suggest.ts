/** Optimal string alignment distance (a swap of neighbours counts once): most slips of the hand are one apart. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min((row[j - 1] ?? 0) + 1, (last[j] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, (before[j - 2] ?? 0) + 1);
      row.push(best);
    }
    before = last;
    last = row;
  }
  return last[b.length] ?? b.length;
}

/** The known name that was probably meant, or undefined when none is near enough to be a slip. */
export function suggest(typed: string, known: Iterable<string>): string | undefined {
  const wanted = typed.toLowerCase().slice(0, 64);
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(wanted.length / 3)) + 1;
  for (const name of known) {
    const far = distance(wanted, name.toLowerCase());
    if (far < bestDistance) {
      best = name;
      bestDistance = far;
    }
  }
  if (best !== undefined) return best;
  // A beginning that fits exactly one name is as good as a slip.
  const begun = wanted.length < 3 ? [] : [...known].filter((name) => name.toLowerCase().startsWith(wanted));
  return begun.length === 1 ? begun[0] : undefined;
}

/** " Did you mean …?" with its leading blank, or "". */
export function didYouMean(typed: string, known: Iterable<string>, prefix = ""): string {
  const name = suggest(typed, known);
  return name === undefined ? "" : ` Did you mean ${prefix}${name}?`;
}
