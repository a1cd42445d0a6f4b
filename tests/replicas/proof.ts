import { type EventDetail, type EventPage, isTerminal, LIMITS, OPEN_STATES } from "../../src/protocol/mod.ts";
import { percentile } from "../bench/proc.ts";
import { eventually } from "../support/eventually.ts";
import { type ChaosOptions, freeze, roll, wreak } from "./chaos.ts";
import { readJournal, type Story } from "./journal.ts";
import type { LoadResult } from "./load.ts";
import { Site, type SiteOptions } from "./site.ts";
import { delaysMs, judge, type Resumption, resumptions, type Verdict } from "./verdict.ts";

export interface ProofOptions extends SiteOptions {
  readonly perSecond: number;
  readonly queuePercent: number;
  readonly chaos: Omit<ChaosOptions, "random">;
  /** Under load, before the first kill. */
  readonly warmUpMs: number;
  /** How often one stands still for longer than its lease, and goes on. */
  readonly stops: number;
  readonly stopMs: number;
  /** Whether all are replaced at the end, one after the other. */
  readonly rolling: boolean;
  /** Between two that are replaced. */
  readonly settleMs: number;
  /** For all that was accepted to come to its end, once nothing is handed in any more. */
  readonly patienceMs: number;
}

export interface ProofResult {
  readonly load: LoadResult;
  readonly story: Story;
  readonly verdict: Verdict;
  readonly states: Readonly<Record<string, number>>;
  /** What each log said that it must not: an event whose end stands there twice. */
  readonly wrong: readonly string[];
  /** From the first event to the last accepted one. */
  readonly seconds: number;
  readonly kills: readonly Resumption[];
  /** Those that lie within ten seconds of a restart of Redis, or while another one stood still, are told apart. */
  readonly disturbed: ReadonlySet<Resumption>;
  readonly rolled: readonly Resumption[];
  readonly rollingDelaysMs: readonly number[];
  /** While one stood still, and another one was killed beside it. */
  readonly stopDelaysMs: readonly number[];
  readonly delaysMs: readonly number[];
  readonly redisDownMs: readonly number[];
  readonly natsDownMs: readonly number[];
  readonly drainMs: number;
  readonly redisBytes: number;
}

const SAMPLE = 300;

/** Asks until there is an answer: a connection that was kept open belongs to a process that is gone. */
async function ask<T>(url: string): Promise<T> {
  const answer = await eventually(() => fetch(url, { keepalive: false, signal: AbortSignal.timeout(10_000) }), {
    timeoutMs: 30_000,
    everyMs: 50,
    what: url,
  });
  if (answer.status !== 200) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as T;
}

/** Starts all, lets things happen to it, waits for what was accepted, and judges by the journal and by what the control planes say. */
export async function prove(options: ProofOptions): Promise<ProofResult> {
  const { say } = options;
  await using site = await Site.open(options);
  say(`${options.replicas} control planes, ${options.agents} agents`);
  const load = await site.load({
    perSecond: options.perSecond,
    queuePercent: options.queuePercent,
    maxPending: Math.max(200, 4 * options.perSecond),
  });
  await Bun.sleep(options.warmUpMs);
  site.journal.mark("phase", "chaos");
  await wreak(site, { ...options.chaos, random: Math.random });
  say("killed and restarted");
  site.journal.mark("phase", "stops");
  if (options.stops > 0) say("now one after the other stands still");
  await freeze(site, options);
  if (options.rolling) {
    say("now one after the other is replaced");
    site.journal.mark("phase", "calm");
    await Bun.sleep(Math.max(2_000, options.settleMs));
    site.journal.mark("phase", "rolling");
    await roll(site, options.settleMs);
  }
  site.journal.mark("phase", "over");
  const result = await load.stop(60_000);
  const stoppedMs = performance.now();
  say(`${result.made} handed in; waiting for all that was accepted`);
  const missing = await untilDone(site, options.patienceMs);
  const drainMs = performance.now() - stoppedMs;
  if (missing > 0) say(`${missing} have not come to their end`);
  // Awaited here: the site is taken down on return.
  return await reckon(site, result, drainMs);
}

/** How many were accepted and have not been carried out, or not ended, when patience is over. */
async function untilDone(site: Site, patienceMs: number): Promise<number> {
  let missing = Number.POSITIVE_INFINITY;
  await eventually(
    async () => {
      const { accepted, effects } = await readJournal(site.journalPath);
      const done = new Set(effects.map(({ id }) => id));
      missing = accepted.filter(({ id }) => !done.has(id)).length;
      if (missing > 0) return false;
      const page = await ask<{ readonly items: readonly unknown[] }>(
        `${site.replicas[0]?.url}/v1/events?state=${OPEN_STATES.join(",")}&limit=1`,
      );
      missing = page.items.length;
      return missing === 0;
    },
    { timeoutMs: patienceMs, everyMs: 500, what: "the end of all that was accepted" },
  ).catch(() => undefined);
  return missing;
}

/** Every event that the control planes know, by state; each page from another of them. */
async function statesOf(site: Site): Promise<Map<string, string>> {
  const states = new Map<string, string>();
  let cursor: string | undefined;
  for (let page = 0; ; page += 1) {
    const { url } = site.replicas[page % site.replicas.length] ?? { url: "" };
    const more = cursor === undefined ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const { items, next_cursor } = await ask<EventPage>(`${url}/v1/events?limit=${LIMITS.pageMax}${more}`);
    for (const { id, state } of items) {
      if (states.has(id)) throw new Error(`the list of events has ${id} twice`);
      states.set(id, state);
    }
    if (next_cursor === undefined) return states;
    cursor = next_cursor;
  }
}

/** Of some events, what their logs say: an end, once, and nothing after it. */
async function logFaults(site: Site, story: Story, chosen: readonly string[]): Promise<string[]> {
  const faults: string[] = [];
  for (const [at, id] of chosen.entries()) {
    const { url } = site.replicas[at % site.replicas.length] ?? { url: "" };
    const { log } = await ask<EventDetail>(`${url}/v1/events/${id}`);
    const told = log.filter(({ details }) => details?.["late"] !== true);
    const ends = told.filter(({ state }) => isTerminal(state));
    if (ends.length !== 1) faults.push(`${id} has ${ends.length} ends in its log`);
    if (told.at(-1) !== ends[0]) faults.push(`${id} went on after its end`);
  }
  return [...faults, ...story.faults.map(({ text }) => text)];
}

/** From each of the first kind to the next of the second. */
function gapsMs(story: Story, from: string, to: string): number[] {
  return story.marks
    .filter(({ what }) => what === from)
    .map(({ atMs }) => (story.marks.find((mark) => mark.what === to && mark.atMs >= atMs)?.atMs ?? Number.POSITIVE_INFINITY) - atMs);
}

async function reckon(site: Site, load: LoadResult, drainMs: number): Promise<ProofResult> {
  const states = await statesOf(site);
  const story = await readJournal(site.journalPath);
  const ids = [...states.keys()];
  const sample = Array.from({ length: Math.min(SAMPLE, ids.length) }, (_, at) => ids[Math.floor((at * ids.length) / SAMPLE)] ?? "");
  const chosen = ids.length <= SAMPLE ? ids : sample;
  const byState: Record<string, number> = {};
  for (const state of states.values()) byState[state] = (byState[state] ?? 0) + 1;
  const phase = (name: string): number => story.marks.find(({ what, whom }) => what === "phase" && whom === name)?.atMs ?? 0;
  const kills = resumptions(story, "kill");
  const times = story.accepted.map(({ atMs }) => atMs);
  const [firstMs, lastMs] = [times[0] ?? 0, times.at(-1) ?? 0];
  const all = delaysMs(story, 0, Number.POSITIVE_INFINITY).map(({ ms }) => ms);
  return {
    load,
    story,
    verdict: judge(story, states),
    states: byState,
    wrong: await logFaults(site, story, chosen),
    seconds: (lastMs - firstMs) / 1_000,
    kills,
    disturbed: new Set(kills.filter(({ kill, routedMs }) => disturbedBy(story, kill.atMs, kill.atMs + Math.min(routedMs, 10_000)))),
    rolled: resumptions(story, "term"),
    rollingDelaysMs: phase("rolling") === 0 ? [] : delaysMs(story, phase("rolling"), phase("over")).map(({ ms }) => ms),
    stopDelaysMs: delaysMs(story, phase("stops"), phase("calm")).map(({ ms }) => ms),
    delaysMs: all,
    redisDownMs: gapsMs(story, "redis-down", "redis-up"),
    natsDownMs: gapsMs(story, "nats-down", "nats-up"),
    drainMs,
    redisBytes: await site.redisInfo("used_memory"),
  };
}

/** Whether Redis was away, or one of the others stood still, between these times. */
function disturbedBy(story: Story, fromMs: number, toMs: number): boolean {
  const spans = story.marks.flatMap(({ what, whom, atMs }) => {
    if (what !== "redis-down" && what !== "stop") return [];
    const end = story.marks.find(
      (mark) => mark.atMs >= atMs && mark.whom === whom && mark.what === (what === "stop" ? "continue" : "redis-up"),
    );
    return [{ fromMs: atMs, toMs: end?.atMs ?? Number.POSITIVE_INFINITY }];
  });
  return spans.some((span) => span.fromMs < toMs && span.toMs > fromMs);
}

function spread(values: readonly number[]): string {
  if (values.length === 0) return "none";
  const ms = (share: number): string => percentile(values, share).toFixed(0);
  return `median ${ms(0.5)}, p99 ${ms(0.99)}, most ${Math.max(...values).toFixed(0)} ms`;
}

/** What can be quoted. */
export function report(result: ProofResult): string {
  const { story, verdict, load, kills, disturbed } = result;
  const hit = kills.filter(({ agents }) => agents > 0);
  const quiet = hit.filter((one) => !disturbed.has(one));
  const loud = hit.filter((one) => disturbed.has(one));
  const queued = story.accepted.filter(({ via }) => via === "queue").length;
  const states = Object.entries(result.states)
    .map(([state, count]) => `${count} ${state}`)
    .join(", ");
  const answers = Object.entries(load.answers)
    .map(([status, count]) => `${count} times ${status}`)
    .join(", ");
  const over = result.rollingDelaysMs.filter((ms) => ms > 2_000).length;
  return [
    `${story.accepted.length} accepted in ${result.seconds.toFixed(0)} s (${(story.accepted.length / result.seconds).toFixed(0)}/s): ${story.accepted.length - queued} over HTTP, ${queued} over NATS; ${load.again} handed in again, ${load.heldBack} held back by the load itself`,
    `HTTP answers: ${answers}`,
    `ended: ${states}; ${story.effects.length} effects at the agents, the last ${(result.drainMs / 1_000).toFixed(1)} s after the load`,
    `${verdict.lost.length} lost, ${verdict.doubled.length} doubled, ${verdict.backwards.length} out of order, ${verdict.unasked.length} unasked, ${result.wrong.length} wrong`,
    `${kills.length} kills -9; ${story.registered.length} registrations; Redis restarted ${result.redisDownMs.length} times (away ${result.redisDownMs.join(", ")} ms), NATS ${result.natsDownMs.length} times (${result.natsDownMs.join(", ")} ms), one stood still past its lease ${story.marks.filter(({ what }) => what === "stop").length} times`,
    `after a kill, all of its agents registered again: ${spread(quiet.map(({ registeredMs }) => registeredMs))}`,
    `after a kill, all of its agents got events again: ${spread(quiet.map(({ routedMs }) => routedMs))} (${quiet.length} kills); beside a restart of Redis or with another one standing still: ${spread(loud.map(({ routedMs }) => routedMs))} (${loud.length} kills)`,
    `after a kill, it took events again: ${spread(kills.flatMap(({ acceptedMs }) => acceptedMs ?? []))}`,
    `from accepted to done: ${spread(result.delaysMs)}`,
    `while one stood still and another was killed, ${result.stopDelaysMs.length} events: from accepted to done ${spread(result.stopDelaysMs)}`,
    `all replaced one after the other, ${result.rollingDelaysMs.length} events meanwhile: from accepted to done ${spread(result.rollingDelaysMs)}, ${over} of them over 2 s`,
    `Redis holds ${(result.redisBytes / 2 ** 20).toFixed(0)} MiB, ${(result.redisBytes / Math.max(1, story.accepted.length)).toFixed(0)} bytes for each event`,
  ].join("\n");
}

/** The first few of each kind of what must not be. */
export function faultLines({ verdict, wrong }: ProofResult): string[] {
  const { lost, doubled, backwards, unasked } = verdict;
  return Object.entries({ lost, doubled, backwards, unasked, wrong }).flatMap(([kind, lines]) =>
    lines.slice(0, 10).map((line) => `${kind}: ${line}`),
  );
}
