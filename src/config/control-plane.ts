import { TransporterError } from "../kit/mod.ts";
import { LIMITS } from "../protocol/mod.ts";
import { COMMON_SETTINGS, LOG_SETTINGS } from "./common.ts";
import { isLoopbackHost } from "./host.ts";
import type { Places } from "./places.ts";
import { type Resolved, describeOrigin } from "./resolve.ts";
import { bytesOr, durationOr, integer, integerOr, text, textOr, toggle } from "./setting.ts";

const HOUR_MS = 3_600_000;
const YEARS_MS = LIMITS.ttlMaxMs;

export const CP_SETTINGS = {
  "ws-addr": textOr("127.0.0.1", {
    describe: "Address to listen on, for HTTP and for agents; another than loopback needs --insecure",
    hint: "HOST",
    check: (host) =>
      /^[\w.:%[\]-]+$/.test(host) && !/^[^:]+:\d+$/.test(host) ? undefined : "a host name or an IP address, without a port",
  }),
  "ws-port": integerOr(8080, { describe: "Port to listen on; 0 takes a free one", min: 0, max: 65_535 }),
  store: text({
    describe: "Where events are kept: sqlite:PATH or memory: (lost at exit); without it a file in the state directory",
    hint: "URL",
    check: (url) => (/^[a-z][a-z0-9+]*:/.test(url) ? undefined : "sqlite:PATH or memory:"),
  }),
  insecure: toggle(false, { describe: "Allow listening beyond this machine without any security" }),
  "heartbeat-timeout": durationOr(30_000, { describe: "Silence after which an agent counts as unhealthy", min: 1000, max: HOUR_MS }),
  "event-retry-max": integerOr(3, { describe: "How often an unanswered event is handed to its agent again", min: 0, max: 1000 }),
  "max-event-bytes": bytesOr(LIMITS.eventBytes, { describe: "Largest event accepted", min: 1024, max: 512 * 1024 * 1024 }),
  "max-in-flight": integerOr(16, { describe: "Events one agent is given before it has finished earlier ones", min: 1, max: 10_000 }),
  retention: durationOr(168 * HOUR_MS, { describe: "How long finished events are kept", min: 1000, max: YEARS_MS }),
  "audit-retention": durationOr(720 * HOUR_MS, { describe: "How long audit entries are kept", min: 1000, max: YEARS_MS }),
  "redis-addr": text({ describe: "Redis to keep events in (0.1); not available in this version yet", hint: "HOST:PORT" }),
  "redis-password": text({ describe: "Password of that Redis", hint: "SECRET", secret: true }),
  "redis-db": integer({ describe: "Database number in that Redis", min: 0, max: 1_000_000 }),
  "memphis-enabled": toggle(false, { describe: "Take events from a Memphis station (0.1); not available in this version yet" }),
  "memphis-host": text({ describe: "Memphis broker", hint: "HOST:PORT" }),
  "memphis-username": textOr("root", { describe: "Memphis user", hint: "NAME" }),
  "memphis-password": text({ describe: "Password of that user", hint: "SECRET", secret: true }),
  "memphis-connection-token": text({ describe: "Connection token, instead of user and password", hint: "SECRET", secret: true }),
  "memphis-station": textOr("transporter-events", { describe: "Memphis station", hint: "NAME" }),
  "memphis-account-id": integer({ describe: "Memphis account", min: 0, max: 2_147_483_647 }),
  ...LOG_SETTINGS,
  ...COMMON_SETTINGS,
} as const;

/** How a control plane is to run. Durations in milliseconds, sizes in bytes. */
export interface ControlPlaneConfig {
  readonly host: string;
  readonly port: number;
  readonly insecure: boolean;
  readonly storeUrl: string;
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

function notYet(what: string, origin: string, instead: string): TransporterError {
  return new TransporterError("CONFIG_INVALID", `${origin}: ${what} is not available in this version yet`, { remedy: instead });
}

/** The URL of the store that is used when none is named. */
export function defaultStoreUrl(where: Places): string {
  if (where.state === undefined)
    throw new TransporterError("CONFIG_INVALID", "there is no place for the store: neither HOME nor XDG_STATE_HOME is set", {
      remedy: "Give --store sqlite:PATH.",
    });
  return `sqlite:${where.state}/cp.db`;
}

/**
 * Turns resolved settings into what the control plane is started with. Throws CONFIG_INVALID where settings contradict each other or
 * select what this version lacks, and INSECURE_REFUSED where it would be open to the network without anybody having said so.
 */
export function controlPlaneConfig({ values, origins, warnings }: Resolved<typeof CP_SETTINGS>, where: Places): ControlPlaneConfig {
  if (values["redis-addr"] !== undefined) {
    const contradicts = values.store === undefined ? "" : `, and ${describeOrigin(origins.store)} names another store`;
    throw notYet(
      `keeping events in Redis${contradicts}`,
      describeOrigin(origins["redis-addr"]),
      "Leave it out and use --store sqlite:PATH.",
    );
  }
  if (values["memphis-enabled"])
    throw notYet(
      "taking events from Memphis",
      describeOrigin(origins["memphis-enabled"]),
      "Leave it out and send over HTTP: `transporter send`.",
    );
  const unused = (
    ["redis-password", "redis-db", "memphis-host", "memphis-password", "memphis-connection-token", "memphis-account-id"] as const
  ).filter((name) => values[name] !== undefined);
  const host = values["ws-addr"].replace(/^\[(.*)\]$/, "$1");
  if (!isLoopbackHost(host) && !values.insecure)
    throw new TransporterError(
      "INSECURE_REFUSED",
      `${describeOrigin(origins["ws-addr"])}: listening on ${host} would let anybody who reaches it change every cluster`,
    );
  return {
    host,
    port: values["ws-port"],
    insecure: values.insecure,
    storeUrl: values.store ?? defaultStoreUrl(where),
    heartbeatTimeoutMs: values["heartbeat-timeout"],
    eventRetryMax: values["event-retry-max"],
    maxEventBytes: values["max-event-bytes"],
    maxInFlight: values["max-in-flight"],
    retention: { eventsMs: values.retention, auditMs: values["audit-retention"] },
    debug: values.debug,
    logFormat: values["log-format"],
    warnings: [...warnings, ...unused.map((name) => `${describeOrigin(origins[name])} has no effect: nothing selects what it belongs to`)],
  };
}
