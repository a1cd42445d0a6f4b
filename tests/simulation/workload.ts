import type { Dice } from "./random.ts";
import type { Fate, Plan } from "./history.ts";
import type { StoreWeather } from "./store-server.ts";

/** How a run goes in all: drawn from the seed. Each run has some kinds of trouble and lacks others, so that every mixture comes up. */
export interface Shape {
  readonly agents: number;
  readonly events: number;
  readonly objects: number;
  /** How long there is chaos. */
  readonly chaosMs: number;
  readonly maxInFlight: number;
  readonly maxConcurrent: number;
  readonly eventRetryMax: number;
  /** Mean number of times in the run. */
  readonly crashes: number;
  readonly failpointChance: number;
  readonly cuts: number;
  readonly jumps: number;
  readonly fullDisks: number;
  readonly pauses: number;
  readonly removal: boolean;
  readonly badFrames: boolean;
  readonly slow: boolean;
  readonly cancelChance: number;
  readonly retryChance: number;
  readonly scriptChance: number;
  readonly delayChance: number;
  readonly bigChance: number;
}

/** What goes wrong between control planes and the store that they share. */
export interface SharedShape {
  /** Agents know all of them by name, or one name for all. */
  readonly named: boolean;
  /** Mean number of times in the run. */
  readonly freezes: number;
  readonly breaks: number;
  readonly aways: number;
  readonly deaf: number;
  readonly storeJumps: number;
  /** Another server takes the store's place, and does not know the last of it. */
  readonly failOvers: number;
  readonly weather: StoreWeather;
}

export function drawSharedShape(dice: Dice): SharedShape {
  return {
    named: dice.chance(0.5),
    freezes: some(dice, 0.5, 4),
    breaks: some(dice, 0.5, 4),
    aways: some(dice, 0.3, 3),
    deaf: some(dice, 0.4, 3),
    storeJumps: some(dice, 0.1, 2),
    failOvers: some(dice, 0.2, 2),
    weather: {
      latencyMs: [dice.float(), dice.pick([1, 5, 40, 300])],
      break: dice.chance(0.5) ? dice.pick([0.002, 0.01, 0.03]) : 0,
      haunt: dice.chance(0.3) ? 0.3 : 0,
      wordLost: dice.chance(0.4) ? dice.pick([0.05, 0.5, 1]) : 0,
      wordAgain: dice.chance(0.3) ? 0.3 : 0,
      wordLateMs: dice.pick([2, 20, 3_000]),
    },
  };
}

function some(dice: Dice, probability: number, most: number): number {
  return dice.chance(probability) ? 1 + dice.float() * (most - 1) : 0;
}

export function drawShape(dice: Dice): Shape {
  const big = dice.chance(0.08);
  return {
    agents: dice.chance(0.6) ? 1 : dice.whole(2, 3),
    events: big ? dice.whole(12, 20) : dice.whole(2, 9),
    objects: dice.whole(1, 4),
    chaosMs: dice.whole(3_000, 40_000),
    maxInFlight: dice.pick([1, 2, 4, 16]),
    maxConcurrent: dice.whole(1, 4),
    eventRetryMax: dice.whole(0, 3),
    crashes: some(dice, 0.6, 5),
    failpointChance: dice.chance(0.7) ? dice.pick([0.003, 0.01, 0.03, 0.08]) : 0,
    cuts: some(dice, 0.5, 5),
    jumps: some(dice, 0.2, 3),
    fullDisks: some(dice, 0.2, 3),
    pauses: some(dice, 0.2, 2),
    removal: dice.chance(0.05),
    badFrames: dice.chance(0.35),
    slow: dice.chance(0.15),
    cancelChance: dice.chance(0.4) ? 0.4 : 0,
    retryChance: dice.chance(0.4) ? 0.5 : 0,
    scriptChance: dice.chance(0.3) ? 0.4 : 0,
    delayChance: dice.chance(0.25) ? 0.4 : 0,
    bigChance: dice.chance(0.25) ? 0.4 : 0,
  };
}

export interface Wish {
  readonly plan: Plan;
  readonly body: Uint8Array;
  /** The same id with other content. */
  readonly otherBody: Uint8Array;
}

function drawFate(dice: Dice): Fate {
  const kind = dice.float();
  const trouble = kind < 0.72 ? "none" : kind < 0.8 ? "invalid" : kind < 0.86 ? "forbidden" : kind < 0.95 ? "flaky" : "never-ready";
  return {
    validateMs: dice.long(1, 500),
    applyMs: dice.long(1, 2_000),
    verifyMs: dice.chance(0.02) ? dice.whole(100_000, 140_000) : dice.long(0, dice.chance(0.05) ? 60_000 : 4_000),
    trouble,
    failures: dice.whole(1, 7),
  };
}

/** Of so many events one says more than every agent knows. By its number, so that the dice fall as they would without. */
const OPERATION_EVERY = 5;

const NS = 1_000_000;
const encoder = new TextEncoder();

/** Draws one event. `createdAtMs`: when its sender says that it was made; undefined where it does not say. */
export function drawWish(dice: Dice, shape: Shape, number: number, createdAtMs?: number): Wish {
  const id = `e${number}`;
  const agentId = `a${dice.whole(1, shape.agents)}`;
  const script = dice.chance(shape.scriptChance);
  const delayed = dice.chance(shape.delayChance);
  const objects = [...new Set(Array.from({ length: dice.whole(1, 3) }, () => `o${dice.whole(1, shape.objects)}`))];
  // All of it stays below what the control plane would parse in a thread: a simulation has none.
  const filler = dice.chance(shape.bigChance) ? noise(dice, dice.whole(2_000, 9_000)) : "";
  const ttlMs = dice.pick([1_500, 8_000, 30_000, 120_000, 86_400_000, 86_400_000, 86_400_000]);
  const operation = !script && number % OPERATION_EVERY === 2;
  const payload = script
    ? { script: `echo ${id}`, args: [filler] }
    : {
        ...(operation ? { operation: "restart" } : {}),
        manifests: objects.map((name) =>
          JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "n" }, data: { event: id, filler } }),
        ),
        verify_timeout: dice.whole(500, 15_000) * NS,
      };
  const event = {
    type: script ? "script" : "k8s_resource",
    target_agent: agentId,
    ...(createdAtMs === undefined ? {} : { created_at: new Date(createdAtMs).toISOString() }),
    payload,
    ttl: ttlMs * NS,
    priority: dice.chance(0.6) ? 0 : dice.whole(-5, 10),
    ...(dice.chance(0.5) ? { deadline: dice.whole(2_000, 60_000) * NS } : {}),
    ...(delayed ? { delay: dice.whole(500, 20_000) * NS } : {}),
    ...(dice.chance(0.5) ? { retry: { attempts: dice.whole(1, 6), backoff: dice.whole(100, 2_000) * NS, max_backoff: 8_000 * NS } } : {}),
  };
  const body = (id: string): Uint8Array => encoder.encode(JSON.stringify({ id, ...event }));
  return {
    plan: {
      id,
      agentId,
      type: script ? "script" : "k8s_resource",
      objects: script ? [] : objects,
      operation,
      fate: drawFate(dice),
      delayed,
      ttlMs,
    },
    body: body(id),
    otherBody: encoder.encode(JSON.stringify({ id, ...event, priority: 99 })),
  };
}

/** Text that does not compress. */
function noise(dice: Dice, chars: number): string {
  let text = "";
  while (text.length < chars) text += dice.bits().toString(36);
  return text;
}
