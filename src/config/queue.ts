import { TransporterError } from "../kit/mod.ts";
import { type Origin, describeOrigin } from "./resolve.ts";
import { type QueueKind, isRedisUrl, queueKindOf, splitServerUrl, withoutSecrets } from "./server-url.ts";
import { type Setting, type ValuesOf, integerOr, text, textOr } from "./setting.ts";

const QUEUE_FORMS = "memphis://HOST:PORT/STATION, nats://HOST:PORT/STREAM (or tls://) or redis://HOST:PORT/DB";

/** Why an address cannot be one of a queue; undefined when it may be. */
export function queueUrlProblem(url: string): string | undefined {
  return queueKindOf(url) === undefined ? QUEUE_FORMS : undefined;
}

export function queueUrlSetting(describe: string): Setting<string | undefined> {
  return text({ describe, hint: "URL", check: queueUrlProblem, shown: withoutSecrets });
}

/** The secrets of a queue, and 0.1's way to name a Memphis. */
export const QUEUE_SETTINGS = {
  "queue-password": text({ describe: "Password for that queue, where its address has none", hint: "SECRET", secret: true }),
  "queue-token": text({ describe: "Token for that queue, instead of user and password", hint: "SECRET", secret: true }),
  "memphis-host": text({ describe: "Memphis broker (0.1); localhost:6666 when Memphis is chosen and nothing is said", hint: "HOST:PORT" }),
  "memphis-username": textOr("root", { describe: "Memphis user", hint: "NAME" }),
  "memphis-password": text({ describe: "Password of that user", hint: "SECRET", secret: true }),
  "memphis-connection-token": text({ describe: "Connection token, instead of the password", hint: "SECRET", secret: true }),
  "memphis-station": textOr("transporter-events", { describe: "Memphis station", hint: "NAME" }),
  "memphis-account-id": integerOr(1, { describe: "Memphis account", min: 0, max: 2_147_483_647 }),
} as const;

type QueueName = keyof typeof QUEUE_SETTINGS;
type QueueValues = ValuesOf<typeof QUEUE_SETTINGS>;
type Origins = Readonly<Record<QueueName, Origin>>;

/** A queue and how to get in. */
export interface QueueTarget {
  readonly kind: QueueKind;
  /** May hold a password: show `withoutSecrets` of it. */
  readonly url: string;
  /** What the address does not say itself. */
  readonly secrets: { readonly password?: string; readonly token?: string };
  /** The settings that went into it, beside the address. */
  readonly used: readonly QueueName[];
}

type Secrets = Partial<Pick<QueueValues, "queue-password" | "queue-token" | "memphis-password" | "memphis-connection-token">>;

/**
 * The queue that an address names, with the secrets that are given beside it: those of the queue, 0.1's for a Memphis, and the store's for
 * a queue in the very Redis that events are kept in. CONFIG_INVALID.
 */
export function queueOfUrl(
  url: string,
  secrets: Secrets,
  store: { readonly storeUrl: string; readonly password: string | undefined } | undefined,
): QueueTarget {
  const kind = queueKindOf(url);
  if (kind === undefined)
    throw new TransporterError(
      "CONFIG_INVALID",
      `the queue ${JSON.stringify(withoutSecrets(url))} is not one that is known; known are ${QUEUE_FORMS}`,
    );
  const used: QueueName[] = [];
  const first = (...names: readonly (keyof Secrets)[]): string | undefined => {
    const name = names.find((each) => secrets[each] !== undefined);
    if (name === undefined) return undefined;
    used.push(name);
    return secrets[name];
  };
  const memphis = kind === "memphis";
  const token = memphis ? first("queue-token", "memphis-connection-token") : first("queue-token");
  if ((splitServerUrl(url)?.password ?? "") !== "") return { kind, url, secrets: secretsOf(undefined, token), used };
  const password = memphis ? first("queue-password", "memphis-password") : first("queue-password");
  const shared = store !== undefined && sameRedis(url, store.storeUrl) ? store.password : undefined;
  return { kind, url, secrets: secretsOf(password ?? shared, token), used };
}

function secretsOf(password: string | undefined, token: string | undefined): QueueTarget["secrets"] {
  return { ...(password === undefined ? {} : { password }), ...(token === undefined ? {} : { token }) };
}

function sameRedis(a: string, b: string): boolean {
  return isRedisUrl(a) && isRedisUrl(b) && splitServerUrl(a)?.hosts === splitServerUrl(b)?.hosts;
}

/** The Memphis that 0.1's flags name. CONFIG_INVALID. */
export function memphisQueue(values: QueueValues, origins: Origins): QueueTarget {
  const host = values["memphis-host"] ?? "localhost:6666";
  const parts = splitServerUrl(`memphis://${host}`);
  if (parts === undefined || host.includes("://") || parts.rest.replace(/^\//, "") !== "" || parts.user !== undefined)
    throw new TransporterError(
      "CONFIG_INVALID",
      `${describeOrigin(origins["memphis-host"])}: the value cannot be used; allowed: HOST:PORT, such as localhost:6666`,
    );
  const hosts = /:\d+$/.test(parts.hosts) ? parts.hosts : `${parts.hosts}:6666`;
  const account = values["memphis-account-id"] === 1 ? "" : `?account=${values["memphis-account-id"]}`;
  const station = encodeURIComponent(values["memphis-station"]);
  const url = `memphis://${encodeURIComponent(values["memphis-username"])}@${hosts}/${station}${account}`;
  const used = NAMES.filter((name) => name.startsWith("memphis-"));
  return { kind: "memphis", url, secrets: secretsOf(values["memphis-password"], values["memphis-connection-token"]), used };
}

const NAMES = Object.keys(QUEUE_SETTINGS) as readonly QueueName[];

/** Those of the settings that were given and did not go into the queue. */
export function unusedQueueSettings(origins: Origins, queue: QueueTarget | undefined): readonly QueueName[] {
  return NAMES.filter((name) => origins[name].from !== "default" && queue?.used.includes(name) !== true);
}

export function contradiction(a: Origin, b: Origin, why: string): TransporterError {
  return new TransporterError("CONFIG_INVALID", `${describeOrigin(a)} and ${describeOrigin(b)} contradict each other: ${why}`, {
    remedy: "Leave one of the two out.",
  });
}
