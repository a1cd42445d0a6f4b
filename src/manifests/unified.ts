import { diffArrays } from "diff";

const CONTEXT = 3;
/** Two texts further apart than so many lines are shown as one replaced by the other: looking for more takes time that grows with its square. */
const MOST_EDITS = 1_000;

/** Which lines of one side have no counterpart on the other; one place more in front and behind, so that a look beyond the ends is harmless. */
type Changed = Uint8Array;

interface Sides {
  readonly old: readonly string[];
  readonly new: readonly string[];
}

function linesOf(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** Marks what differs: lines that the other side does not have at all first, then what the library finds among the rest. */
function findChanges(sides: Sides): { readonly old: Changed; readonly new: Changed } {
  const changed = { old: new Uint8Array(sides.old.length + 2), new: new Uint8Array(sides.new.length + 2) };
  const known = { old: new Set(sides.old), new: new Set(sides.new) };
  const kept = (side: "old" | "new", other: "old" | "new"): number[] =>
    sides[side].flatMap((line, at) => {
      if (known[other].has(line)) return [at];
      changed[side][at + 1] = 1;
      return [];
    });
  const olds = kept("old", "new");
  const news = kept("new", "old");
  const found = diffArrays(
    olds.map((at) => sides.old[at] ?? ""),
    news.map((at) => sides.new[at] ?? ""),
    { maxEditLength: MOST_EDITS },
  );
  if (found === undefined) {
    for (const at of olds) changed.old[at + 1] = 1;
    for (const at of news) changed.new[at + 1] = 1;
    return changed;
  }
  let [oldAt, newAt] = [0, 0];
  for (const { added, removed, count } of found) {
    if (removed) for (const at of olds.slice(oldAt, oldAt + count)) changed.old[at + 1] = 1;
    if (added) for (const at of news.slice(newAt, newAt + count)) changed.new[at + 1] = 1;
    if (!added) oldAt += count;
    if (!removed) newAt += count;
  }
  return changed;
}

/**
 * Of several ways to tell the same change, takes the one that GNU diff takes: a run of changed lines is moved back as far as it goes, then
 * forward as far as it goes, runs that meet become one, and one that can stand beside a run of the other side does.
 * Source: shift_boundaries of diffutils. Indices are those of `Changed`, from 1.
 */
function shiftRuns(lines: readonly string[], changed: Changed, other: Changed): void {
  const is = (marks: Changed, at: number): boolean => at >= 0 && marks[at] === 1;
  const same = (a: number, b: number): boolean => lines[a - 1] === lines[b - 1];
  const end = lines.length + 1;
  let [at, across] = [1, 1];
  for (;;) {
    while (at < end && !is(changed, at)) {
      while (is(other, across)) across += 1;
      across += 1;
      at += 1;
    }
    if (at >= end) return;
    let start = at;
    while (is(changed, at)) at += 1;
    while (is(other, across)) across += 1;
    let beside = end;
    for (let length = -1; length !== at - start;) {
      length = at - start;
      while (start > 1 && same(start - 1, at - 1)) {
        changed[--start] = 1;
        changed[--at] = 0;
        while (is(changed, start - 1)) start -= 1;
        across -= 1;
        while (is(other, across)) across -= 1;
      }
      // The place in the other side is behind its run where there is one.
      beside = is(other, across - 1) ? at : end;
      while (at !== end && same(start, at)) {
        changed[start++] = 0;
        changed[at++] = 1;
        while (is(changed, at)) at += 1;
        across += 1;
        while (is(other, across)) {
          beside = at;
          across += 1;
        }
      }
    }
    while (beside < at) {
      changed[--start] = 1;
      changed[--at] = 0;
      across -= 1;
      while (is(other, across)) across -= 1;
    }
  }
}

/** Lines taken away and put in at one place; from 0. */
interface Change {
  readonly oldAt: number;
  readonly oldCount: number;
  readonly newAt: number;
  readonly newCount: number;
}

function changesOf(sides: Sides, changed: { readonly old: Changed; readonly new: Changed }): Change[] {
  const changes: Change[] = [];
  let [oldAt, newAt] = [0, 0];
  while (oldAt < sides.old.length || newAt < sides.new.length) {
    const [oldFrom, newFrom] = [oldAt, newAt];
    while (changed.old[oldAt + 1] === 1) oldAt += 1;
    while (changed.new[newAt + 1] === 1) newAt += 1;
    if (oldAt > oldFrom || newAt > newFrom)
      changes.push({ oldAt: oldFrom, oldCount: oldAt - oldFrom, newAt: newFrom, newCount: newAt - newFrom });
    else {
      oldAt += 1;
      newAt += 1;
    }
  }
  return changes;
}

function rangeText(start: number, count: number): string {
  return count === 1 ? String(start + 1) : `${count === 0 ? start : start + 1},${count}`;
}

function hunkText(sides: Sides, hunk: readonly Change[]): string {
  const [first, last] = [hunk[0], hunk.at(-1)];
  if (first === undefined || last === undefined) return "";
  const oldFrom = Math.max(0, first.oldAt - CONTEXT);
  const newFrom = first.newAt - (first.oldAt - oldFrom);
  const oldTo = Math.min(sides.old.length, last.oldAt + last.oldCount + CONTEXT);
  const newTo = last.newAt + last.newCount + (oldTo - last.oldAt - last.oldCount);
  const out = [`@@ -${rangeText(oldFrom, oldTo - oldFrom)} +${rangeText(newFrom, newTo - newFrom)} @@`];
  let at = oldFrom;
  for (const { oldAt, oldCount, newAt, newCount } of hunk) {
    for (; at < oldAt; at += 1) out.push(` ${sides.old[at] ?? ""}`);
    for (; at < oldAt + oldCount; at += 1) out.push(`-${sides.old[at] ?? ""}`);
    for (const line of sides.new.slice(newAt, newAt + newCount)) out.push(`+${line}`);
  }
  for (; at < oldTo; at += 1) out.push(` ${sides.old[at] ?? ""}`);
  return `${out.join("\n")}\n`;
}

/** The hunks of a unified diff, as GNU `diff -u` writes them; "" for equal texts. Both end with a line end, or are empty. */
export function unifiedHunks(oldText: string, newText: string): string {
  if (oldText === newText) return "";
  const sides: Sides = { old: linesOf(oldText), new: linesOf(newText) };
  const changed = findChanges(sides);
  shiftRuns(sides.old, changed.old, changed.new);
  shiftRuns(sides.new, changed.new, changed.old);
  const hunks: Change[][] = [];
  let end = Number.NEGATIVE_INFINITY;
  for (const change of changesOf(sides, changed)) {
    if (change.oldAt - end <= 2 * CONTEXT) hunks.at(-1)?.push(change);
    else hunks.push([change]);
    end = change.oldAt + change.oldCount;
  }
  return hunks.map((hunk) => hunkText(sides, hunk)).join("");
}
