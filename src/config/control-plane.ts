import { TransporterError } from "../kit/mod.ts";
import { LIMITS } from "../protocol/mod.ts";
import { apiUrl } from "./address.ts";
import { COMMON_SETTINGS, LOG_SETTINGS } from "./common.ts";
import type { Places } from "./places.ts";
import {
  QUEUE_SETTINGS,
  type QueueTarget,
  contradiction,
  memphisQueue,
  queueOfUrl,
  queueUrlSetting,
  unusedQueueSettings,
} from "./queue.ts";
import { type Resolved, describeOrigin } from "./resolve.ts";
import { type ListenersConfig, type SecurityConfig, listenersConfig, securityConfig } from "./security.ts";
import { SECURITY_SETTINGS, hostProblem } from "./security-settings.ts";
import { isRedisUrl } from "./server-url.ts";
import { bytesOr, duration, durationOr, integerOr, list, text, textOr, toggle } from "./setting.ts";
import { STORE_SETTINGS, storeTarget } from "./store.ts";

const PUBLISHED = ["status", "audit"] as const;

/** Where statuses and audit entries are published, and which of them. */
export interface OutletTarget extends QueueTarget {
  readonly kinds: readonly (typeof PUBLISHED)[number][];
}

const HOUR_MS = 3_600_000;
const YEARS_MS = LIMITS.ttlMaxMs;

export const CP_SETTINGS = {
  "ws-addr": textOr("127.0.0.1", {
    describe:
      "Address to listen on; all of them (0.0.0.0) when secured and nothing is said. Another than loopback needs security, or --insecure",
    hint: "HOST",
    check: hostProblem,
  }),
  "ws-port": integerOr(8080, { describe: "Port to listen on; 0 takes a free one", min: 0, max: 65_535 }),
  ...SECURITY_SETTINGS,
  ...STORE_SETTINGS,
  insecure: toggle(false, { describe: "Allow listening beyond this machine without any security" }),
  "heartbeat-timeout": durationOr(30_000, { describe: "Silence after which an agent counts as unhealthy", min: 1000, max: HOUR_MS }),
  "event-retry-max": integerOr(3, { describe: "How often an unanswered event is handed to its agent again", min: 0, max: 1000 }),
  "max-event-bytes": bytesOr(LIMITS.eventBytes, { describe: "Largest event accepted", min: 1024, max: 512 * 1024 * 1024 }),
  "max-in-flight": integerOr(16, { describe: "Events one agent is given before it has finished earlier ones", min: 1, max: 10_000 }),
  retention: durationOr(168 * HOUR_MS, { describe: "How long finished events are kept", min: 1000, max: YEARS_MS }),
  "audit-retention": durationOr(720 * HOUR_MS, { describe: "How long audit entries are kept", min: 1000, max: YEARS_MS }),
  "redis-compat-keys": toggle(false, {
    describe: "In Redis, keep 0.1's keys (event:status:ID, agent:ID and their indexes) up to date as well, for scripts that read them",
  }),
  queue: queueUrlSetting(
    "Queue to take events from, beside HTTP: memphis://HOST:PORT/STATION, nats://HOST:PORT/STREAM (tls://) or redis://HOST:PORT/DB",
  ),
  "memphis-enabled": toggle(false, { describe: "Take events from a Memphis station, as the other --memphis flags name it (0.1)" }),
  ...QUEUE_SETTINGS,
  publish: list({
    describe: "What to publish for others to read, as CloudEvents: status, audit, or both with a comma between",
    hint: "KINDS",
    check: (kind) => (PUBLISHED.some((known) => known === kind) ? undefined : PUBLISHED.join(", ")),
  }),
  "publish-to": queueUrlSetting("Where to publish it; without it the server of --queue. Alone, it publishes status and audit"),
  "publish-password": text({ describe: "Password for that address, where it has none", hint: "SECRET", secret: true }),
  "publish-token": text({ describe: "Token for that address, instead of user and password", hint: "SECRET", secret: true }),
  "replica-id": text({
    describe: "Name of this control plane among those that share a store; made from the host's name when not given",
    hint: "NAME",
    check: (name) => (/^[a-z0-9][a-z0-9._-]{0,62}$/i.test(name) ? undefined : "1 to 63 letters, digits, dots, dashes and underscores"),
  }),
  advertise: text({
    describe: "Address of this very control plane, as people reach it; shown by `get replicas`",
    hint: "URL",
    check: (url) => (apiUrl(url) === undefined ? "an http:// or https:// URL without user, query or fragment" : undefined),
  }),
  drain: duration({
    describe: "Over how long agents are sent to other control planes when this one stops; 5s where the store is shared, else 0s",
    min: 0,
    max: 600_000,
  }),
  ...LOG_SETTINGS,
  ...COMMON_SETTINGS,
} as const;

/** How a control plane is to run. Durations in milliseconds, sizes in bytes. */
export interface ControlPlaneConfig {
  readonly listeners: ListenersConfig;
  /** Undefined: whoever reaches it may do anything. */
  readonly security: SecurityConfig | undefined;
  readonly insecure: boolean;
  /** May hold a password: show `withoutSecrets` of it. */
  readonly storeUrl: string;
  /** For a store whose URL has none itself. */
  readonly storePassword: string | undefined;
  /** 0.1's keys beside our own; only ever true with Redis. */
  readonly redisCompatKeys: boolean;
  readonly queue: QueueTarget | undefined;
  readonly outlet: OutletTarget | undefined;
  readonly replicaId: string | undefined;
  /** http or https. */
  readonly advertise: string | undefined;
  readonly drainMs: number | undefined;
  readonly heartbeatTimeoutMs: number;
  readonly eventRetryMax: number;
  readonly maxEventBytes: number;
  readonly maxInFlight: number;
  readonly retention: { readonly eventsMs: number; readonly auditMs: number };
  readonly debug: boolean;
  readonly logFormat: "text" | "json" | undefined;
  /** For people, one line each. */
  readonly warnings: readonly string[];
}

/**
 * Turns resolved settings into what the control plane is started with. `seen.securityFound`: `defaultSecurityDirectory` holds a CA. Throws CONFIG_INVALID where settings contradict each other, and
 * INSECURE_REFUSED where it would be open to the network without anybody having said so.
 */
export function controlPlaneConfig(
  resolved: Resolved<typeof CP_SETTINGS>,
  where: Places,
  seen: { readonly securityFound: boolean } = { securityFound: false },
): ControlPlaneConfig {
  const { values, origins, warnings } = resolved;
  const store = storeTarget(resolved, where);
  const compat = values["redis-compat-keys"] && isRedisUrl(store.url);
  const queue = queueOf(resolved, store.url);
  const outlet = outletOf(resolved, queue);
  const noEffect = [
    ...unusedQueueSettings(origins, queue),
    ...(values["redis-compat-keys"] && !compat ? (["redis-compat-keys"] as const) : []),
    ...(outlet === undefined ? (["publish-password", "publish-token"] as const).filter((name) => values[name] !== undefined) : []),
  ];
  const security = securityConfig(resolved, where, seen.securityFound);
  const listeners = listenersConfig(resolved, security);
  return {
    listeners,
    security,
    insecure: values.insecure,
    storeUrl: store.url,
    storePassword: store.password,
    redisCompatKeys: compat,
    queue,
    outlet,
    replicaId: values["replica-id"],
    advertise: values.advertise === undefined ? undefined : apiUrl(values.advertise),
    drainMs: values.drain,
    heartbeatTimeoutMs: values["heartbeat-timeout"],
    eventRetryMax: values["event-retry-max"],
    maxEventBytes: values["max-event-bytes"],
    maxInFlight: values["max-in-flight"],
    retention: { eventsMs: values.retention, auditMs: values["audit-retention"] },
    debug: values.debug,
    logFormat: values["log-format"],
    warnings: [
      ...warnings,
      ...store.warnings,
      ...untold(listeners, security),
      ...noEffect.map((name) => `${describeOrigin(origins[name])} has no effect: nothing selects what it belongs to`),
    ],
  };
}

const AGENTS_PORT = 8443;

/** Agents that are told nothing try the usual port of the host that they enrolled at. */
function untold({ agents }: ListenersConfig, security: SecurityConfig | undefined): readonly string[] {
  if (agents === undefined || agents.port === AGENTS_PORT || security === undefined || security.agentUrls.length > 0) return [];
  return [
    `agents are not told of port ${agents.port === 0 ? "that is taken" : agents.port}, and try ${AGENTS_PORT}; give --advertise-agents wss://HOST:PORT/ws`,
  ];
}

function queueOf({ values, origins }: Resolved<typeof CP_SETTINGS>, storeUrl: string): QueueTarget | undefined {
  if (values.queue === undefined) return values["memphis-enabled"] ? memphisQueue(values, origins) : undefined;
  if (values["memphis-enabled"])
    throw contradiction(origins.queue, origins["memphis-enabled"], "events are taken from one queue, and each names another");
  return queueOfUrl(values.queue, values, { storeUrl, password: values["redis-password"] });
}

function outletOf({ values, origins }: Resolved<typeof CP_SETTINGS>, queue: QueueTarget | undefined): OutletTarget | undefined {
  const to = values["publish-to"];
  if (values.publish.length === 0 && to === undefined) return undefined;
  const target =
    to === undefined
      ? queue
      : queueOfUrl(to, { "queue-password": values["publish-password"], "queue-token": values["publish-token"] }, undefined);
  if (target === undefined)
    throw new TransporterError("CONFIG_INVALID", `${describeOrigin(origins.publish)} says what to publish, and nothing says where`, {
      remedy: "Give --publish-to URL, or --queue URL, whose server is then used.",
    });
  return { ...target, kinds: PUBLISHED.filter((kind) => values.publish.length === 0 || values.publish.includes(kind)) };
}
