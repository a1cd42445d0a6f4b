import { type ErrorCode } from "../protocol/mod.ts";
import { messageOf, TransporterError } from "../kit/mod.ts";

/** What whoever uses a Redis calls its faults. */
export interface RedisCodes {
  readonly invalid: ErrorCode;
  readonly denied: ErrorCode;
  readonly unavailable: ErrorCode;
  readonly full: ErrorCode;
}

export const STORE_CODES: RedisCodes = {
  invalid: "STORE_INVALID",
  denied: "STORE_DENIED",
  unavailable: "STORE_UNAVAILABLE",
  full: "STORE_FULL",
};

interface Kind {
  readonly match: RegExp;
  readonly code: keyof RedisCodes;
  readonly says: string;
  readonly remedy?: string;
}

/** What the server answers, by the word that it begins with. */
const REPLIES: readonly Kind[] = [
  {
    match: /^NOAUTH|HELLO must be called with the client already authenticated/,
    code: "denied",
    says: "asks for a password and was given none",
    remedy: "Give one in a file (password-file=FILE in the address) or by the environment.",
  },
  {
    match: /^WRONGPASS|invalid password|invalid username-password pair/i,
    code: "denied",
    says: "refuses this user and password",
    remedy: "Check user and password; `ACL LIST` on the server shows which users there are and whether they are on.",
  },
  {
    match: /^NOPERM/,
    code: "denied",
    says: "does not allow its user what is needed",
    remedy: "Give the user the rights that docs/redis.md lists.",
  },
  {
    match: /^OOM/,
    code: "full",
    says: "is out of memory",
    remedy: "Raise maxmemory or shorten the retention. Nothing was accepted; it goes on by itself.",
  },
  {
    match: /^MISCONF/,
    code: "unavailable",
    says: "cannot write to its disk and takes nothing",
    remedy: "Look into the log of the Redis server: its disk is full or its directory cannot be written.",
  },
  {
    match: /^READONLY/,
    code: "unavailable",
    says: "is a replica and takes no writes",
    remedy: "Name the master; with a failover use redis+sentinel://, which finds it.",
  },
  { match: /^LOADING/, code: "unavailable", says: "still reads its data", remedy: "Wait; it answers when it has read everything." },
  {
    match: /^NOREPLICAS/,
    code: "unavailable",
    says: "has fewer replicas than min-replicas-to-write asks for",
    remedy: "Bring the replicas back; until then Redis takes no writes.",
  },
  { match: /^(BUSY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|UNBLOCKED)\b/, code: "unavailable", says: "cannot answer just now" },
  {
    match: /DB index is out of range|SELECT is not allowed/,
    code: "invalid",
    says: "has no database of this number",
    remedy: "Name one that it has (`databases` in redis.conf; Redis Cluster has only 0).",
  },
  {
    match: /cluster support disabled/,
    code: "invalid",
    says: "is no Redis Cluster",
    remedy: "Write redis:// or rediss:// for a single server.",
  },
  {
    match: /^MOVED |^CROSSSLOT/,
    code: "invalid",
    says: "is a node of a Redis Cluster",
    remedy: "Write redis+cluster:// or rediss+cluster://.",
  },
];

const TLS_FAULT =
  /certificate|self.?signed|CERT_|ERR_TLS|ERR_SSL|SSL routines|UNABLE_TO_|DEPTH_ZERO|wrong version number|alert|altname|hostname.*match|unknown ca/i;

/** Whether the server answered, and answered no. */
export function isRedisReply(error: unknown): boolean {
  return error instanceof Error && error.name === "ReplyError";
}

/** Whether a command that failed with this may have been carried out all the same. */
export function mayHaveHappened(error: unknown): boolean {
  return (
    !isRedisReply(error) && !/isn't writeable and enableOfflineQueue|Failed to refresh slots cache|ended while/i.test(messageOf(error))
  );
}

/** The error of this program for whatever a Redis client threw. */
export function redisFault(thrown: unknown, location: string, codes: RedisCodes): TransporterError {
  if (thrown instanceof TransporterError) return thrown;
  const error = lastOf(thrown);
  const text = messageOf(error);
  const say = (code: keyof RedisCodes, says: string, remedy: string | undefined): TransporterError =>
    new TransporterError(codes[code], `Redis at ${location} ${says}`, { cause: thrown, ...(remedy === undefined ? {} : { remedy }) });

  // A script's own error comes with the word of the command inside it, and a cluster's with that of the last node that was tried.
  const reply = text
    .replace(/^Too many Cluster redirections\. Last error: (?:\w*Error: )?/, "")
    .replace(/^(?:ERR )?(?:Error running script.*?: )?(?:@user_script:\d+: )?-?/, "");
  for (const kind of REPLIES) if (kind.match.test(reply)) return say(kind.code, kind.says, kind.remedy);
  if (isRedisReply(error))
    return new TransporterError("INTERNAL", `Redis at ${location} refused a command: ${text.slice(0, 300)}`, { cause: thrown });
  const code = codeOf(error);
  if (TLS_FAULT.test(`${code} ${text}`)) return say("unavailable", `cannot be trusted: ${tlsReason(code, text)}`, TLS_REMEDY);
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return say("unavailable", "cannot be found: the name is not known", "Check the host's name.");
  if (code === "ECONNREFUSED") return say("unavailable", "refuses connections", "Check host and port, and whether the server runs.");
  if (/sentinels? (are|is) unreachable|failed to connect to sentinel/i.test(text))
    return say("unavailable", sentinelReason(text), SENTINEL_REMEDY);
  if (/isn't writeable and enableOfflineQueue|None of startup nodes|max retries per request/i.test(text))
    return say("unavailable", "is not connected just now", undefined);
  if (/timed? ?out/i.test(text) || code === "ETIMEDOUT") return say("unavailable", "does not answer in time", undefined);
  if (/Protocol error|invalid http|Connection is closed|ECONNRESET|EPIPE|socket/i.test(`${code} ${text}`))
    return say("unavailable", `closed the connection${code === "" ? "" : ` (${code})`}`, CLOSED_REMEDY);
  return say("unavailable", `does not answer: ${text.slice(0, 200)}`, undefined);
}

const TLS_REMEDY =
  "Check ca=FILE, the name in the server's certificate (server-name=NAME), and whether it wants a client certificate (cert=FILE&key=FILE).";
const SENTINEL_REMEDY = "Check the sentinels' hosts and ports, their password (sentinel-password-file=FILE) and the name of the master.";
const CLOSED_REMEDY = "Check whether this port speaks TLS (rediss://) or not (redis://), and whether it wants a client certificate.";

/** A cluster tells what its nodes said only inside. */
function lastOf(thrown: unknown): unknown {
  if (thrown instanceof Error && "lastNodeError" in thrown && thrown.lastNodeError instanceof Error) return thrown.lastNodeError;
  return thrown;
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

function tlsReason(code: string, text: string): string {
  if (/wrong version number/i.test(text)) return "it does not speak TLS on this port";
  if (/ALTNAME|hostname/i.test(`${code} ${text}`)) return "its certificate is for another name";
  if (/certificate required|handshake failure|bad certificate/i.test(text)) return "it wants a client certificate that it knows";
  if (/expired|CERT_HAS_EXPIRED/i.test(`${code} ${text}`)) return "its certificate has expired";
  return `its certificate is of no known authority (${code === "" ? text.slice(0, 100) : code})`;
}

function sentinelReason(text: string): string {
  const last = /Last error: (.*)$/.exec(text)?.[1];
  return `cannot be found: no sentinel answers${last === undefined ? "" : ` (${last.slice(0, 120)})`}`;
}
