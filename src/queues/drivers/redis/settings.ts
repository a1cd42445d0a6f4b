import { TransporterError } from "../../../kit/mod.ts";
import { LIMITS, NS_PER_MS, parseGoDuration } from "../../../protocol/mod.ts";
import { type RedisAddress, type RedisCodes, parseRedisUrl } from "../../../redis/mod.ts";
import { BANDS, type Band } from "../../port.ts";

/** What a Redis is called where it is a queue. A full one takes more again when somebody has made room. */
export const QUEUE_CODES: RedisCodes = {
  invalid: "QUEUE_INVALID",
  denied: "QUEUE_DENIED",
  unavailable: "QUEUE_UNAVAILABLE",
  full: "QUEUE_UNAVAILABLE",
};

export interface RedisQueueSettings {
  readonly address: RedisAddress;
  readonly name: string;
  readonly group: string;
  /** One stream for each band, in the order of `BANDS`. */
  readonly streams: readonly [string, string, string];
  readonly dead: string;
  /** What the keys of remembered ids begin with. */
  readonly ids: string;
  /** How long an id is remembered, so that the same message is kept once. */
  readonly duplicatesMs: number;
  /** After how long without a sign of life of its consumer a message is somebody else's. */
  readonly claimAfterMs: number;
  readonly maxDeliveries: number;
  /** Messages that one band may hold; more are refused. */
  readonly maxLength: number;
  /** Dead letters that are kept; older ones are dropped. */
  readonly maxDead: number;
  /** Entries that a stream of what is published keeps, about; older ones are dropped. */
  readonly maxPublished: number;
  readonly maxMessageBytes: number;
}

const EXTRA = ["stream", "group", "duplicates", "claim-after", "max-deliveries", "max-length", "max-dead", "max-published"] as const;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

function invalid(why: string, remedy: string): TransporterError {
  return new TransporterError("QUEUE_INVALID", `the address of the queue ${why}`, { remedy });
}

/**
 * Reads the URL of a queue in Redis: one of `src/redis`, with `stream` (transporter-events), `group` (transporter-cp), `duplicates` (10m),
 * `claim-after` (30s), `max-deliveries` (10), `max-length` (1000000), `max-dead` (10000) and `max-published`
 * (100000). Throws QUEUE_INVALID.
 */
export function redisQueueSettings(url: string, password: string | undefined): RedisQueueSettings {
  const address = parseRedisUrl(url, {
    code: "QUEUE_INVALID",
    what: "queue",
    extra: EXTRA,
    ...(password === undefined ? {} : { password }),
  });
  const { parameters } = address;
  const name = nameOf(parameters, "stream", "transporter-events");
  if (address.wait > 0 && address.kind === "cluster")
    throw invalid(
      "has wait, which nothing answers for a Redis Cluster as a whole",
      "Leave wait out; min-replicas-to-write on the nodes does it.",
    );
  // One hash tag for all: a cluster keeps them together, and a script may touch them at once.
  const base = `{${address.prefix}}:queue:${name}`;
  const [urgent, normal, low] = BANDS.map((band: Band) => `${base}:${band}`);
  return {
    address,
    name,
    group: nameOf(parameters, "group", "transporter-cp"),
    streams: [urgent ?? "", normal ?? "", low ?? ""],
    dead: `${base}:dead`,
    ids: `${base}:id:`,
    duplicatesMs: durationOf(parameters, "duplicates", 600_000, { min: 1000, max: 7 * 86_400_000 }),
    claimAfterMs: durationOf(parameters, "claim-after", 30_000, { min: 1000, max: 3_600_000 }),
    maxDeliveries: countOf(parameters, "max-deliveries", 10, { min: 1, max: 1000 }),
    maxLength: countOf(parameters, "max-length", 1_000_000, { min: 1, max: 100_000_000 }),
    maxDead: countOf(parameters, "max-dead", 10_000, { min: 1, max: 10_000_000 }),
    maxPublished: countOf(parameters, "max-published", 100_000, { min: 1, max: 100_000_000 }),
    maxMessageBytes: LIMITS.eventBytes,
  };
}

type Parameters = ReadonlyMap<string, string>;
interface Bounds {
  readonly min: number;
  readonly max: number;
}

function nameOf(parameters: Parameters, key: string, fallback: string): string {
  const text = parameters.get(key) ?? fallback;
  if (!NAME.test(text))
    throw invalid(`has ${key}=${JSON.stringify(text.slice(0, 80))}`, "Give 1 to 64 letters, digits, dots, dashes and underscores.");
  return text;
}

function countOf(parameters: Parameters, key: string, fallback: number, { min, max }: Bounds): number {
  const text = parameters.get(key);
  if (text === undefined) return fallback;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw invalid(`has ${key}=${JSON.stringify(text.slice(0, 40))}`, `Give a whole number from ${min} to ${max}.`);
}

function durationOf(parameters: Parameters, key: string, fallbackMs: number, { min, max }: Bounds): number {
  const text = parameters.get(key);
  if (text === undefined) return fallbackMs;
  const ms = (parseGoDuration(text) ?? Number.NaN) / NS_PER_MS;
  if (ms >= min && ms <= max) return Math.round(ms);
  throw invalid(`has ${key}=${JSON.stringify(text.slice(0, 40))}`, "Give a duration with its unit, such as 30s or 10m.");
}
