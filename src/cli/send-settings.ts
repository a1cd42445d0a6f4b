import { OUTPUT_SETTINGS } from "./output.ts";
import { QUEUE_SETTINGS, choice, duration, integer, pairs, queueUrlSetting, text } from "../config/mod.ts";
import { LIMITS, RETRY_DEFAULTS, formatDurationMs, idProblem, parseTimestampMs } from "../protocol/mod.ts";
import { CLIENT_SETTINGS } from "./connect.ts";
import { WAIT_SETTINGS } from "./wait-settings.ts";

const ttlBounds = { min: LIMITS.ttlMinMs, max: LIMITS.ttlMaxMs } as const;
const checkId = (id: string): string | undefined =>
  id === "" || idProblem(id) !== undefined ? "1 to 253 characters, none of them a control character" : undefined;

const checkKey = (key: string): string | undefined =>
  key.length > LIMITS.idempotencyKeyChars || !/^[\x21-\x7e]+$/.test(key)
    ? `1 to ${LIMITS.idempotencyKeyChars} visible ASCII characters`
    : undefined;
const checkTime = (time: string): string | undefined =>
  parseTimestampMs(time) === undefined ? "an RFC 3339 time such as 2026-02-10T22:00:00Z" : undefined;

/** What `send k8s` and `send from-file` share: 0.1's flags and ours. Most belong to one call, so only the flag can set them. */
export const SEND_SETTINGS = {
  agent: text({ describe: "Agent that is to do it", hint: "ID", flagOnly: true, completes: "agent", check: checkId }),
  id: text({ describe: "Id of the event; a new UUID when not given", hint: "ID", flagOnly: true, check: checkId }),
  "idempotency-key": text({
    describe: "The control plane makes the id from this: the same key sent again is the same event, not a second one",
    hint: "KEY",
    flagOnly: true,
    check: checkKey,
  }),
  name: text({ describe: "A name for people, kept as the label `name`", hint: "NAME", flagOnly: true }),
  label: pairs({ short: "l", describe: "Label of the event; repeatable", flagOnly: true }),
  ttl: duration({ describe: "How long it may wait for its start; 24h when nothing is said", flagOnly: true, ...ttlBounds }),
  deadline: duration({ describe: "How long the execution may take; 1h when nothing is said", flagOnly: true, ...ttlBounds }),
  "not-before": text({
    describe: "Not to be started before this RFC 3339 time; the TTL counts from it",
    hint: "TIME",
    flagOnly: true,
    check: checkTime,
  }),
  delay: duration({
    describe: "Not to be started before this long after acceptance; the TTL counts from then",
    flagOnly: true,
    ...ttlBounds,
  }),
  "retry-attempts": integer({
    describe: `How often the agent tries in all what can heal, such as an API server that is away; ${RETRY_DEFAULTS.attempts} when nothing is said`,
    min: 1,
    max: LIMITS.retryAttempts,
    flagOnly: true,
  }),
  "retry-backoff": duration({
    describe: `The longest first wait between tries, doubled each time; ${formatDurationMs(RETRY_DEFAULTS.backoffMs)} when nothing is said`,
    flagOnly: true,
    ...ttlBounds,
  }),
  "retry-max-backoff": duration({
    describe: `The longest wait between tries; ${formatDurationMs(RETRY_DEFAULTS.maxBackoffMs)} when nothing is said`,
    flagOnly: true,
    ...ttlBounds,
  }),
  priority: integer({
    describe: "Higher goes first; 0 when nothing is said",
    min: -LIMITS.priorityAbs,
    max: LIMITS.priorityAbs,
    flagOnly: true,
  }),
  "created-by": text({ describe: "Who sends it, a claim for the record; `cli` when nothing is said", hint: "NAME", flagOnly: true }),
  ...WAIT_SETTINGS,
  "dry-run": choice(["client"], { describe: "Check here, print the event, and send nothing", flagOnly: true }),
  ...OUTPUT_SETTINGS,
  mode: choice(["http", "memphis", "nats", "redis"], {
    describe: "How to hand it in: to a control plane, or through a queue; without it as --queue says, or http",
    flagOnly: true,
  }),
  queue: queueUrlSetting(
    "Queue to put it into: memphis://HOST:PORT/STATION, nats://HOST:PORT/STREAM (tls://) or redis://HOST:PORT/DB; with --mode memphis the --memphis flags do as well",
  ),
  ...QUEUE_SETTINGS,
  ...CLIENT_SETTINGS,
} as const;
export type SendSettings = typeof SEND_SETTINGS;
