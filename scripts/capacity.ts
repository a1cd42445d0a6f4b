/**
 * What an installation needs for its agents and events: `bun scripts/capacity.ts --agents 5000 --events-per-day 2000000`. What one event and one agent
 * cost comes from the table of measured figures in docs/scaling.md and from nowhere else; all that is worked out from it is an extrapolation, and
 * says so.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ROOT } from "./run.ts";

/** Names of the first column of the table of measured figures. */
const NAMES = [
  "cp-cpu-us",
  "redis-cpu-us",
  "redis-event-bytes",
  "redis-event-aof-bytes",
  "agent-bytes",
  "heartbeat-cpu-us",
  "cp-base-mib",
  "registrations-per-second",
] as const;
export type Figures = Readonly<Record<(typeof NAMES)[number], number>>;

export interface Wish {
  readonly agents: number;
  readonly eventsPerDay: number;
  /** How many times the mean the busiest minute is. */
  readonly peak: number;
  /** Of an event's manifests, as compact JSON. */
  readonly payloadBytes: number;
  /** How long ended events are kept. */
  readonly retentionDays: number;
}

/** What is taken for granted, each to be doubted. */
export const ASSUMED = {
  /** Of a core, at the busiest minute, for a control plane and for Redis: beyond it waiting grows quicker than work. */
  coreShare: 0.6,
  /** Control planes that may be gone at once while the others carry all. */
  spare: 1,
  heartbeatSeconds: 10,
  /** Redis copies pages that change while it rewrites its file. */
  rewriteCopy: 0.5,
} as const;

export interface Capacity {
  readonly peakPerSecond: number;
  readonly cpCores: number;
  readonly replicas: number;
  /** Of the one core on which Redis runs scripts. */
  readonly redisCore: number;
  /** At which one Redis is busy all the time. */
  readonly redisMostPerSecond: number;
  readonly redisMiB: number;
  readonly redisMostMiB: number;
  readonly aofGibPerDay: number;
  readonly cpMiB: number;
  /** Until all agents of one that died are registered elsewhere. */
  readonly takeoverSeconds: number;
}

export function capacity(figures: Figures, wish: Wish): Capacity {
  const peakPerSecond = (wish.eventsPerDay / 86_400) * wish.peak;
  const heartbeats = wish.agents / ASSUMED.heartbeatSeconds;
  const cpCores = (peakPerSecond * figures["cp-cpu-us"] + heartbeats * figures["heartbeat-cpu-us"]) / 1e6;
  const busy = Math.max(1, Math.ceil(cpCores / ASSUMED.coreShare));
  const kept = wish.eventsPerDay * wish.retentionDays;
  const redisMiB = (kept * (figures["redis-event-bytes"] + wish.payloadBytes)) / 2 ** 20;
  return {
    peakPerSecond,
    cpCores,
    replicas: busy + ASSUMED.spare,
    redisCore: (peakPerSecond * figures["redis-cpu-us"]) / 1e6,
    redisMostPerSecond: 1e6 / figures["redis-cpu-us"],
    redisMiB,
    redisMostMiB: redisMiB * (1 + ASSUMED.rewriteCopy),
    aofGibPerDay: (wish.eventsPerDay * (figures["redis-event-aof-bytes"] + wish.payloadBytes)) / 2 ** 30,
    cpMiB: figures["cp-base-mib"] + ((wish.agents / busy) * figures["agent-bytes"]) / 2 ** 20,
    takeoverSeconds: wish.agents / (busy + ASSUMED.spare) / (busy * figures["registrations-per-second"]),
  };
}

/** The measured figures, as the page has them: rows of a table that begin with a name in backticks. */
export function figuresOf(page: string): Figures {
  const value = (name: string): number => {
    const found = new RegExp(`^\\| \`${name}\` +\\| +([\\d.,]+) `, "m").exec(page)?.[1];
    if (found === undefined) throw new Error(`docs/scaling.md has no figure ${name}`);
    return Number(found.replaceAll(",", ""));
  };
  return Object.fromEntries(NAMES.map((name) => [name, value(name)])) as Figures;
}

function short(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(2).replace(/\.0$/, "");
}

export function told(wish: Wish, found: Capacity): string {
  const { coreShare, spare, heartbeatSeconds, rewriteCopy } = ASSUMED;
  const bends =
    found.redisCore > coreShare
      ? `MORE THAN ONE REDIS SHOULD CARRY: see "How to go on" in docs/scaling.md`
      : `one Redis is busy all the time at ${short(found.redisMostPerSecond)} events/s`;
  return [
    `${wish.agents.toLocaleString("en")} agents, ${wish.eventsPerDay.toLocaleString("en")} events a day, ${wish.payloadBytes.toLocaleString("en")} bytes each, kept for ${wish.retentionDays} days`,
    "",
    "Assumed:",
    `  the busiest minute has ${wish.peak} times the mean: ${short(found.peakPerSecond)} events/s`,
    `  a core is planned for ${coreShare * 100} % at that minute; ${spare} control plane may be gone; a heartbeat every ${heartbeatSeconds} s`,
    `  payloads all differ; Redis needs ${rewriteCopy * 100} % more memory while it rewrites its file; cores as fast as the one measured`,
    "",
    "Extrapolated from the measured figures:",
    `  control planes       ${found.replicas} (${short(found.cpCores)} cores in all at the busiest minute), ${short(found.cpMiB)} MiB each`,
    `  Redis, processor     ${short(found.redisCore * 100)} % of its one core; ${bends}`,
    `  Redis, memory        ${short(found.redisMiB)} MiB, ${short(found.redisMostMiB)} MiB while it rewrites its file`,
    `  Redis, file          grows by ${short(found.aofGibPerDay)} GiB a day, and is rewritten when it has doubled`,
    `  a control plane dies its agents are registered elsewhere after about ${short(2 + found.takeoverSeconds)} s`,
    "",
  ].join("\n");
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      agents: { type: "string", default: "1000" },
      "events-per-day": { type: "string", default: "1000000" },
      peak: { type: "string", default: "10" },
      "payload-bytes": { type: "string", default: "2000" },
      "retention-days": { type: "string", default: "7" },
    },
  });
  const number = (name: keyof typeof values): number => {
    const value = Number(values[name]);
    if (Number.isFinite(value) && value > 0) return value;
    throw new Error(`--${name} ${values[name]} is not a number above 0`);
  };
  const wish: Wish = {
    agents: number("agents"),
    eventsPerDay: number("events-per-day"),
    peak: number("peak"),
    payloadBytes: number("payload-bytes"),
    retentionDays: number("retention-days"),
  };
  const page = await Bun.file(join(ROOT, "docs/scaling.md")).text();
  process.stdout.write(told(wish, capacity(figuresOf(page), wish)));
}
