/** What stands before and behind the credentials of an address such as `redis://user:password@host:6379/0`; several hosts may share one. */
export interface ServerUrl {
  /** Without its colon. */
  readonly scheme: string;
  /** Percent-encoded, as written. */
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** One host, or several with commas between. */
  readonly hosts: string;
  /** Path and query, as written. */
  readonly rest: string;
}

// URL refuses several hosts, which Sentinel and Cluster need. The last @ before the path ends the credentials, as in a URL.
const SERVER_URL = /^([a-z][a-z0-9+.-]*):\/\/(?:([^/?#]*)@)?([^/?#@]+)(.*)$/s;

/** Takes an address apart; undefined for what has no `scheme://host`. */
export function splitServerUrl(text: string): ServerUrl | undefined {
  const match = SERVER_URL.exec(text);
  if (match === null) return undefined;
  const [, scheme = "", credentials, hosts = "", rest = ""] = match;
  const at = credentials?.indexOf(":") ?? -1;
  const user = at < 0 ? credentials : credentials?.slice(0, at);
  return {
    scheme,
    user: user === "" ? undefined : user,
    password: at < 0 ? undefined : credentials?.slice(at + 1),
    hosts,
    rest,
  };
}

export function joinServerUrl({ scheme, user, password, hosts, rest }: ServerUrl): string {
  const credentials = user === undefined && password === undefined ? "" : `${user ?? ""}${password === undefined ? "" : `:${password}`}@`;
  return `${scheme}://${credentials}${hosts}${rest}`;
}

const SECRET_PARAMETER = /([?&])([^?=&#]*(?:password|passwd|secret|token)=)[^&#]*/gi;

/** The address as it may be shown: without its password, and without what stands for one. */
export function withoutSecrets(url: string): string {
  const parts = splitServerUrl(url);
  if (parts === undefined) return url;
  // NATS takes a user without a password for a token.
  const token = parts.user !== undefined && parts.password === undefined && (parts.scheme === "nats" || parts.scheme === "tls");
  const rest = parts.rest.replace(SECRET_PARAMETER, "$1$2…");
  if (parts.password === undefined && !token && rest === parts.rest) return url;
  return joinServerUrl({ ...parts, user: token ? undefined : parts.user, password: undefined, rest });
}

const REDIS_SCHEME = /^rediss?(?:\+(?:sentinel|cluster))?$/;

export function isRedisUrl(url: string): boolean {
  return REDIS_SCHEME.test(splitServerUrl(url)?.scheme ?? "");
}

export const QUEUE_KINDS = ["memphis", "nats", "redis"] as const;
export type QueueKind = (typeof QUEUE_KINDS)[number];

/** Which engine an address of a queue names; undefined for one that is none. */
export function queueKindOf(url: string): QueueKind | undefined {
  const scheme = splitServerUrl(url)?.scheme ?? "";
  if (scheme === "memphis") return "memphis";
  if (scheme === "nats" || scheme === "tls") return "nats";
  return REDIS_SCHEME.test(scheme) ? "redis" : undefined;
}
