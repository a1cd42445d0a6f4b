import type { Accepted, Mark, Registered, Story } from "./journal.ts";

/** One line for each thing that must not be. */
export interface Verdict {
  /** Accepted, and its agent never did it, or it never came to its good end. */
  readonly lost: readonly string[];
  /** Done more than once. */
  readonly doubled: readonly string[];
  /** Done after a later one that touches the same object. */
  readonly backwards: readonly string[];
  /** Done by another agent than it was for, or asked for by nobody. */
  readonly unasked: readonly string[];
}

/** Holds what agents did and how events ended against what was accepted. `states` is undefined where nobody was asked yet. Pure. */
export function judge(
  { accepted, effects }: Pick<Story, "accepted" | "effects">,
  states: ReadonlyMap<string, string> | undefined,
): Verdict {
  const asked = new Map(accepted.map((one) => [one.id, one]));
  const done = new Map<string, number>();
  const highest = new Map<string, number>();
  const verdict = { lost: [] as string[], doubled: [] as string[], backwards: [] as string[], unasked: [] as string[] };
  for (const { id, agent, object, n } of effects) {
    const wish = asked.get(id);
    if (wish === undefined || wish.agent !== agent || wish.object !== object) verdict.unasked.push(`${id} at ${agent}: ${object}`);
    const times = (done.get(id) ?? 0) + 1;
    done.set(id, times);
    if (times === 2) verdict.doubled.push(`${id} at ${agent}`);
    if (n === 0) continue;
    const before = highest.get(object) ?? 0;
    if (n < before) verdict.backwards.push(`${object} at ${agent}: ${n} after ${before}`);
    highest.set(object, Math.max(n, before));
  }
  for (const { id, agent, via } of asked.values()) {
    const state = states === undefined ? "completed" : (states.get(id) ?? "unknown to the store");
    if (!done.has(id)) verdict.lost.push(`${id} for ${agent} over ${via}: no effect, ${state}`);
    else if (state !== "completed") verdict.lost.push(`${id} for ${agent} over ${via}: ${state}`);
  }
  return verdict;
}

/** What the end of a replica did to its agents. */
export interface Resumption {
  readonly kill: Mark;
  /** Agents that it held. */
  readonly agents: number;
  /** Until the last of them was registered elsewhere, or here again. */
  readonly registeredMs: number;
  /** Until the last of them got an event again, time in which there was none for it left out. */
  readonly routedMs: number;
  /** Until a replica at its port said 202 again; undefined where nobody asked, or it was ended again before. */
  readonly acceptedMs: number | undefined;
}

function groupBy<T>(items: readonly T[], of: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(of(item));
    if (group === undefined) groups.set(of(item), [item]);
    else group.push(item);
  }
  return groups;
}

/** For each mark of this kind, how soon the agents of that replica were served again. Pure. */
export function resumptions(story: Story, what: "kill" | "term"): Resumption[] {
  const registered = groupBy(story.registered, ({ agent }) => agent);
  const done = new Map(story.effects.toReversed().map((effect) => [effect.id, effect.atMs]));
  const events = groupBy(story.accepted, ({ agent }) => agent);
  const ends = story.marks.filter((mark) => mark.what === "kill" || mark.what === "term");
  return story.marks
    .filter((mark) => mark.what === what)
    .map((kill) => {
      const times = [...registered].flatMap(([agent, its]) => servedAgain(kill, its, events.get(agent) ?? [], done));
      const nextEnd = ends.find(({ atMs, whom }) => whom === kill.whom && atMs > kill.atMs)?.atMs ?? Number.POSITIVE_INFINITY;
      const again = story.accepted.find(({ atMs, via }) => via === kill.whom && atMs > kill.atMs)?.atMs ?? Number.POSITIVE_INFINITY;
      return {
        kill,
        agents: times.length,
        registeredMs: Math.max(0, ...times.map((one) => one.registeredMs)),
        routedMs: Math.max(0, ...times.map((one) => one.routedMs)),
        acceptedMs: again < nextEnd ? again - kill.atMs : undefined,
      };
    });
}

/** Nothing where the agent was not at that replica. */
function servedAgain(
  kill: Mark,
  registrations: readonly Registered[],
  events: readonly Accepted[],
  done: ReadonlyMap<string, number>,
): { readonly registeredMs: number; readonly routedMs: number }[] {
  const last = registrations.findLast(({ atMs }) => atMs <= kill.atMs);
  if (last === undefined || last.port !== kill.whom) return [];
  const [back, lostAgain] = registrations.filter(({ atMs }) => atMs > kill.atMs);
  if (back === undefined) return [{ registeredMs: Number.POSITIVE_INFINITY, routedMs: Number.POSITIVE_INFINITY }];
  const registeredMs = back.atMs - kill.atMs;
  // The first that came over the new connection. Until it was accepted nobody could know that the way is open again.
  const first = events
    .map(({ id, atMs }) => ({ acceptedMs: atMs, doneMs: done.get(id) ?? Number.POSITIVE_INFINITY }))
    .filter(({ doneMs }) => doneMs >= back.atMs)
    .toSorted((a, b) => a.doneMs - b.doneMs)[0];
  if (first === undefined || first.acceptedMs > (lostAgain?.atMs ?? Number.POSITIVE_INFINITY))
    return [{ registeredMs, routedMs: registeredMs }];
  const routedMs = first.acceptedMs <= back.atMs ? first.doneMs - kill.atMs : registeredMs + first.doneMs - first.acceptedMs;
  return [{ registeredMs, routedMs }];
}

/** From accepted to done, of what was accepted in this span; in the order accepted. Pure. */
export function delaysMs(
  story: Pick<Story, "accepted" | "effects">,
  fromMs: number,
  toMs: number,
): { readonly id: string; readonly ms: number }[] {
  const done = new Map(story.effects.toReversed().map((effect) => [effect.id, effect.atMs]));
  return (
    story.accepted
      .filter(({ atMs }) => atMs >= fromMs && atMs < toMs)
      // The agent may be quicker than the answer to who handed it in.
      .map(({ id, atMs }) => ({ id, ms: Math.max(0, (done.get(id) ?? Number.POSITIVE_INFINITY) - atMs) }))
  );
}
