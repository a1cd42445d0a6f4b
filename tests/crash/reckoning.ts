import { type EventDetail, isTerminal, type State } from "../../src/protocol/mod.ts";
import { ENDS } from "./events.ts";
import type { Installation } from "./installation.ts";
import type { Accepted, Load } from "./load.ts";
import type { Kill } from "./service.ts";
import { type Intended, judgeEffects, type Verdict } from "./verdict.ts";

export interface Reckoning {
  readonly accepted: number;
  readonly states: Readonly<Record<string, number>>;
  /** Given up after three crashes over the same event, as it should be. */
  readonly quarantined: number;
  /** Whose effects the API server itself was asked for. */
  readonly counted: number;
  /** Changes that the API server saw. */
  readonly changes: number;
  readonly verdict: Verdict;
  /** One line for each event that did not end as it should. */
  readonly wrong: readonly string[];
  /** Kills at which nothing was open, to the control plane's own knowledge. */
  readonly idleKills: readonly Kill[];
  /** Words of agents that came after the end. */
  readonly lateWords: number;
  readonly deliveries: number;
}

const READERS = 16;

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** After everything ended: asks the control plane for each event and its log, and the API server's record for each effect. */
export async function reckon(installation: Installation, load: Load): Promise<Reckoning> {
  const states: Record<string, number> = {};
  const wrong: string[] = [];
  const intended: Intended[] = [];
  const spans: Span[] = [];
  let quarantined = 0;
  let counted = 0;
  let lateWords = 0;
  let deliveries = 0;
  const look = async (accepted: Accepted): Promise<void> => {
    const { made, revisions } = accepted;
    const detail = await load.detail(made.id);
    if (detail === undefined) throw new Error(`the control plane does not answer about ${made.id}`);
    states[detail.state] = (states[detail.state] ?? 0) + 1;
    deliveries += detail.revision;
    const given = detail.log.some((entry) => entry.details?.["code"] === "EVENT_QUARANTINED");
    if (given) quarantined += 1;
    if (!ENDS[made.kind].includes(detail.state) && !given) wrong.push(`${made.id} ended ${detail.state}: ${detail.message}`);
    if (detail.revision !== revisions) wrong.push(`${made.id} has ${detail.revision} revisions instead of ${revisions}`);
    lateWords += detail.log.filter((entry) => entry.details?.["late"] === true).length;
    wrong.push(...endsOf(detail, revisions));
    intended.push({ event: made.id, writes: made.agent === "writer" ? made.writes : [], effect: effectOf(detail.state, given, made.kind) });
    if (made.agent === "writer" && made.writes.length > 0) counted += 1;
    if (detail.finished_at !== undefined) spans.push({ fromMs: accepted.acceptedAtMs, toMs: Date.parse(detail.finished_at) });
  };
  const queue = [...load.accepted.values()];
  let at = 0;
  await Promise.all(
    Array.from({ length: READERS }, async () => {
      for (let accepted = queue[at++]; accepted !== undefined; accepted = queue[at++]) await look(accepted);
    }),
  );
  await installation.effects.settle();
  const { changes } = installation.effects;
  return {
    accepted: load.accepted.size,
    states,
    quarantined,
    counted,
    changes: changes.length,
    verdict: judgeEffects(changes, intended),
    wrong,
    idleKills: installation.kills.filter(({ atMs }) => !spans.some(({ fromMs, toMs }) => fromMs < atMs && atMs < toMs)),
    lateWords,
    deliveries,
  };
}

function effectOf(state: State, quarantined: boolean, kind: string): Intended["effect"] {
  if (kind === "unreadable" || kind === "nobody") return "none";
  if (state === "completed") return "all";
  return state === "cancelled" || quarantined ? "some" : "none";
}

/** Each revision ends once, in the log as in the state. */
function endsOf(detail: EventDetail, revisions: number): string[] {
  const faults: string[] = [];
  for (let revision = 1; revision <= revisions; revision += 1) {
    const ends = detail.log.filter((entry) => entry.revision === revision && isTerminal(entry.state) && entry.details?.["late"] !== true);
    if (ends.length !== 1)
      faults.push(`${detail.id} revision ${revision} has ${ends.length} ends in its log: ${ends.map(({ state }) => state).join(", ")}`);
    const after = detail.log.slice(detail.log.findIndex((entry) => entry === ends[0]) + 1);
    if (after.some((entry) => entry.revision === revision && entry.details?.["late"] !== true))
      faults.push(`${detail.id} revision ${revision} went on after its end`);
  }
  if (!isTerminal(detail.state)) faults.push(`${detail.id} is ${detail.state}`);
  return faults;
}

export interface SummaryParts {
  readonly what: string;
  readonly seed: number;
  readonly seconds: number;
  readonly reckoning: Reckoning;
  readonly kills: readonly Kill[];
  readonly resubmitted: number;
}

/** One line that can be quoted. */
export function summaryLine({ what, seed, seconds, reckoning, kills, resubmitted }: SummaryParts): string {
  const { accepted, states, quarantined, counted, changes, verdict, wrong, lateWords } = reckoning;
  const byState = Object.entries(states)
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([state, count]) => `${count} ${state}`)
    .join(", ");
  const byService = Object.entries(Object.groupBy(kills, ({ service }) => service))
    .map(([service, its]) => `${its?.length ?? 0} ${service}`)
    .join(", ");
  const failpoints = kills.filter(({ failpoint }) => failpoint !== undefined);
  const points = new Set(failpoints.map(({ failpoint }) => failpoint)).size;
  return [
    `${what}: ${accepted} accepted (${resubmitted} handed in again)`,
    `finished: ${byState}${quarantined > 0 ? ` (${quarantined} given up after three crashes)` : ""}`,
    `${kills.length} kills (${byService})`,
    `${points} failpoints hit ${failpoints.length} times`,
    `${counted} events counted at the API server, ${changes} changes there`,
    `${lateWords} late words`,
    `${verdict.lost.length + wrong.length} lost or ended wrongly, ${verdict.doubled.length + verdict.unasked.length} doubled, ${verdict.backwards.length} out of order`,
    `${seconds.toFixed(0)} s`,
    `seed ${seed}`,
  ].join("; ");
}
