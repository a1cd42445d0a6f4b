import { type ErrorCode } from "../protocol/mod.ts";
import { TransporterError } from "../kit/mod.ts";

/** Where a Redis is and how it is reached; made from a URL, without anything read from disk yet. */
export interface RedisAddress {
  readonly kind: "single" | "sentinel" | "cluster";
  /** The server, or the sentinels, or some nodes of the cluster. */
  readonly nodes: readonly RedisNode[];
  /** The name that the sentinels know the master by. */
  readonly master: string | undefined;
  readonly db: number;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly passwordFile: string | undefined;
  readonly sentinelUser: string | undefined;
  readonly sentinelPassword: string | undefined;
  readonly sentinelPasswordFile: string | undefined;
  /** Undefined where the connection is not encrypted. */
  readonly tls: RedisTls | undefined;
  /** What all keys begin with. */
  readonly prefix: string;
  /** Replicas that must have a write before it counts. */
  readonly wait: number;
  /** For a connection to stand, and for a command to be answered. */
  readonly timeoutMs: number;
  /** Those of `extra` that were given. */
  readonly parameters: ReadonlyMap<string, string>;
  /** For people, without secrets. */
  readonly location: string;
  /** A password was written into the URL, where process lists show it. */
  readonly passwordInUrl: boolean;
}
export interface RedisNode {
  readonly host: string;
  readonly port: number;
}
/** Paths of PEM files; what is absent is the machine's default. */
export interface RedisTls {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** The name that the server's certificate must have, where it is not the host's. */
  readonly serverName: string | undefined;
}

export interface ParseRedisOptions {
  /** What to call a URL that is not right. */
  readonly code?: ErrorCode;
  /** What the URL is for, in messages. */
  readonly what?: string;
  /** Parameters beyond those of the connection that whoever asks understands. */
  readonly extra?: readonly string[];
  /** From the environment or a file; the URL's own goes before it. */
  readonly password?: string;
  readonly sentinelPassword?: string;
}

const SCHEME = /^(rediss?)(?:\+(sentinel|cluster))?:\/\//;
const PARAMETERS = [
  "prefix",
  "wait",
  "timeout",
  "ca",
  "cert",
  "key",
  "server-name",
  "password-file",
  "sentinel-user",
  "sentinel-password",
  "sentinel-password-file",
] as const;
const DEFAULT_PREFIX = "transporter";
const DEFAULT_TIMEOUT_MS = 5_000;
const SHAPE =
  "redis://[user[:password]@]host[:port][/db], rediss://… for TLS, redis+sentinel://host:26379,host:26379/MASTER[/db], or redis+cluster://host:port,host:port";

export function isRedisUrl(url: string): boolean {
  return SCHEME.test(url);
}

/** Reads a URL of Redis. Throws the given code (STORE_INVALID by default); what it says never repeats a secret. */
export function parseRedisUrl(url: string, options: ParseRedisOptions = {}): RedisAddress {
  const what = options.what ?? "store";
  const fail = (why: string, remedy?: string): TransporterError =>
    new TransporterError(options.code ?? "STORE_INVALID", `the address of the ${what} ${why}`, {
      remedy: remedy ?? `Write it as ${SHAPE}.`,
    });

  const scheme = SCHEME.exec(url);
  if (scheme === null) throw fail("is none of Redis");
  const kind = scheme[2] === "sentinel" || scheme[2] === "cluster" ? scheme[2] : "single";
  const rest = url.slice(scheme[0].length);
  if (rest.includes("#")) throw fail("has a #, which stands for nothing there", "Write %23 where a user, a password or a name has a #.");
  const [beforeQuery, query = ""] = splitOnce(rest, "?");
  const [authority, path = ""] = splitOnce(beforeQuery, "/");
  const at = authority.lastIndexOf("@");
  const [userText, passwordText] = at === -1 ? [] : splitOnce(authority.slice(0, at), ":");
  const decode = (text: string, name: string): string => {
    try {
      return decodeURIComponent(text);
    } catch {
      throw fail(`has a ${name} with a % that begins no code`, `Write %25 for a % in the ${name}.`);
    }
  };

  const nodes = nodesOf(authority.slice(at + 1), kind, fail);
  const { master, dbText } = placeOf(path, kind, (text) => decode(text, "path"), fail);
  const db = dbText === "" ? 0 : /^\d{1,5}$/.test(dbText) ? Number(dbText) : undefined;
  if (db === undefined) throw fail(`names the database ${JSON.stringify(dbText)}, which is no number`);
  if (kind === "cluster" && db !== 0) throw fail(`names database ${db}, and Redis Cluster has only 0`);

  const given = parametersOf(query, options.extra ?? [], what, fail);
  const count = (name: string, most: number): number | undefined => {
    const text = given.get(name);
    if (text === undefined) return undefined;
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value <= most)) throw fail(`has ${name}=${JSON.stringify(text)}; it is a whole number up to ${most}`);
    return value;
  };
  const prefix = given.get("prefix") ?? DEFAULT_PREFIX;
  // It stands inside the braces of a hash tag, so that a cluster keeps all keys of an installation together.
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(prefix))
    throw fail(
      `has a prefix that cannot begin a key`,
      "Give 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first.",
    );

  const tls = tlsOf(scheme[1] === "rediss", given, fail);
  const password = nonEmpty(passwordText === undefined ? undefined : decode(passwordText, "password"));
  const passwordFile = given.get("password-file");
  if (password !== undefined && passwordFile !== undefined) throw fail("has both a password and a password-file", "Keep the file.");
  const sentinelPassword = given.get("sentinel-password");
  const sentinelPasswordFile = given.get("sentinel-password-file");
  if (kind !== "sentinel")
    for (const name of given.keys())
      if (name.startsWith("sentinel-")) throw fail(`has ${name}, but its scheme is not redis+sentinel or rediss+sentinel`);
  if (sentinelPassword !== undefined && sentinelPasswordFile !== undefined)
    throw fail("has both a sentinel-password and a sentinel-password-file", "Keep the file.");

  return {
    kind,
    nodes,
    master,
    db,
    user: nonEmpty(userText === undefined ? undefined : decode(userText, "user")),
    password: password ?? (passwordFile === undefined ? nonEmpty(options.password) : undefined),
    passwordFile,
    sentinelUser: given.get("sentinel-user"),
    sentinelPassword: sentinelPassword ?? (sentinelPasswordFile === undefined ? nonEmpty(options.sentinelPassword) : undefined),
    sentinelPasswordFile,
    tls,
    prefix,
    wait: count("wait", 100) ?? 0,
    timeoutMs: timeoutOf(given.get("timeout"), fail),
    parameters: new Map((options.extra ?? []).flatMap((name) => (given.has(name) ? [[name, given.get(name) ?? ""] as const] : []))),
    location: `${scheme[0]}${nodes.map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`).join(",")}${
      master === undefined ? "" : `/${master}`
    }${kind === "cluster" ? "" : `/${db}`}`,
    passwordInUrl: password !== undefined || sentinelPassword !== undefined,
  };
}

type Fail = (why: string, remedy?: string) => TransporterError;

function splitOnce(text: string, mark: string): [string, string | undefined] {
  const at = text.indexOf(mark);
  return at === -1 ? [text, undefined] : [text.slice(0, at), text.slice(at + mark.length)];
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function nodesOf(text: string, kind: RedisAddress["kind"], fail: Fail): RedisNode[] {
  const nodes = text.split(",").map((part): RedisNode => {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(part);
    const port = match?.[3] === undefined ? (kind === "sentinel" ? 26_379 : 6_379) : Number(match[3]);
    // A password with an unescaped @ or / ends up here, so nothing of it is repeated.
    if (match === null || port < 1 || port > 65_535)
      throw fail("names no host, or one that cannot be read", `Write %40 for an @ and %2F for a / in a user or password. It is ${SHAPE}.`);
    return { host: match[1] ?? match[2] ?? "", port };
  });
  if (kind === "single" && nodes.length > 1)
    throw fail("names several hosts", "For sentinels the scheme is redis+sentinel, for a cluster redis+cluster.");
  return nodes;
}

function placeOf(
  path: string,
  kind: RedisAddress["kind"],
  decode: (text: string) => string,
  fail: Fail,
): { readonly master: string | undefined; readonly dbText: string } {
  const parts = path === "" ? [] : path.replace(/\/$/, "").split("/").map(decode);
  if (kind !== "sentinel") {
    if (parts.length > 1) throw fail("has more after the database than it may");
    return { master: undefined, dbText: parts[0] ?? "" };
  }
  const [master = "", dbText = "", ...more] = parts;
  if (!/^[A-Za-z0-9._-]+$/.test(master))
    throw fail("names no master for the sentinels to find", "Write redis+sentinel://host:26379,…/MASTER, often mymaster.");
  if (more.length > 0) throw fail("has more after the database than it may");
  return { master, dbText };
}

function parametersOf(query: string, extra: readonly string[], what: string, fail: Fail): ReadonlyMap<string, string> {
  const given = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (!(PARAMETERS as readonly string[]).includes(name) && !extra.includes(name))
      throw fail(
        `has the parameter ${JSON.stringify(name.slice(0, 40))}, which is not known`,
        `Known for a ${what} are ${[...PARAMETERS, ...extra].join(", ")}.`,
      );
    if (given.has(name)) throw fail(`has the parameter ${name} twice`);
    if (value === "") throw fail(`has the parameter ${name} without a value`);
    given.set(name, value);
  }
  return given;
}

function tlsOf(encrypted: boolean, given: ReadonlyMap<string, string>, fail: Fail): RedisTls | undefined {
  const [ca, cert, key, serverName] = [given.get("ca"), given.get("cert"), given.get("key"), given.get("server-name")];
  if (!encrypted) {
    if ([ca, cert, key, serverName].some((value) => value !== undefined))
      throw fail("has files for TLS, but its scheme does not encrypt", "Write rediss:// (or rediss+sentinel://, rediss+cluster://).");
    return undefined;
  }
  if ((cert === undefined) !== (key === undefined)) throw fail("has only one of cert and key", "A client certificate needs both files.");
  return { ca, cert, key, serverName };
}

function timeoutOf(text: string | undefined, fail: Fail): number {
  if (text === undefined) return DEFAULT_TIMEOUT_MS;
  const match = /^(\d{1,6})(ms|s)$/.exec(text);
  const timeoutMs = match === null ? Number.NaN : Number(match[1]) * (match[2] === "s" ? 1000 : 1);
  if (!(timeoutMs >= 100 && timeoutMs <= 60_000)) throw fail(`has timeout=${JSON.stringify(text)}`, "Give 100ms to 60s, such as 5s.");
  return timeoutMs;
}
