import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "@nats-io/transport-node";
import { credsAuthenticator, nkeyAuthenticator, tokenAuthenticator, usernamePasswordAuthenticator } from "@nats-io/transport-node";
import { messageOf, TransporterError } from "../../../kit/mod.ts";
import { NS_PER_MS, parseGoDuration } from "../../../protocol/mod.ts";
import { type Band, BANDS } from "../../port.ts";
import type { QueueSecrets } from "../../open.ts";

/** Where a NATS is, how it is entered, and what is used there. */
export interface NatsAddress {
  /** Without secrets, for people. */
  readonly location: string;
  readonly connection: Pick<ConnectionOptions, "servers" | "tls" | "authenticator">;
  /** The JetStream domain, for a leaf node. */
  readonly domain: string | undefined;
  readonly stream: string;
  /** What the subjects of the bands begin with. */
  readonly subject: string;
  readonly deadStream: string;
  readonly deadSubject: string;
  /** What is published about events and agents goes there, under `<outSubject>.status.<agent>` and `<outSubject>.audit`. */
  readonly outStream: string;
  readonly outSubject: string;
  readonly outMaxAgeMs: number;
  /** What the durable consumers' names begin with. */
  readonly consumer: string;
  /** How long a message may be in hand without a sign of life. */
  readonly ackWaitMs: number;
  /** Handed out this often and not settled, a message is dead. */
  readonly maxDeliver: number;
  /** For how long the stream remembers ids. */
  readonly dedupMs: number;
  /** 0: for ever. */
  readonly maxAgeMs: number;
  /** Bytes that may wait; -1: as many as the server has room for. */
  readonly maxBytes: number;
  readonly deadMaxAgeMs: number;
  readonly replicas: number;
  /** How long a publish or a question may take in all. */
  readonly timeoutMs: number;
}

const SHAPE = /^(nats|tls):\/\/(?:([^/?#]*)@)?([^/?#@]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/i;
const NAME = /^[A-Za-z0-9_-]{1,200}$/;
const SUBJECT = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
const DEFAULT_STREAM = "TRANSPORTER";
const DAY_MS = 86_400_000;
/** What an acknowledgement in progress may take, three times over. */
const SHORTEST_ACK_WAIT_MS = 1_000;
/** So long waits what was in the hands of a control plane that died. */
const ACK_WAIT_MS = 3_000;
/** Fewer, and a control plane that is restarted a few times uses up what a message has. */
export const FEWEST_DELIVERIES = 5;

const PARAMETERS: ReadonlySet<string> = new Set([
  "creds",
  "nkey",
  "token-file",
  "password-file",
  "ca",
  "cert",
  "key",
  "handshake-first",
  "domain",
  "subject",
  "dead-stream",
  "dead-subject",
  "dead-max-age",
  "out-stream",
  "out-subject",
  "out-max-age",
  "consumer",
  "ack-wait",
  "max-deliver",
  "dedup",
  "max-age",
  "max-bytes",
  "replicas",
  "timeout",
]);

/** The subject of a band. */
export function subjectOf(address: Pick<NatsAddress, "subject">, band: Band): string {
  return `${address.subject}.${band}`;
}
/** The durable consumer of a band. */
export function consumerOf(address: Pick<NatsAddress, "consumer">, band: Band): string {
  return `${address.consumer}-${band}`;
}
export function subjectsOf(address: Pick<NatsAddress, "subject">): string[] {
  return BANDS.map((band) => subjectOf(address, band));
}

function invalid(message: string): TransporterError {
  return new TransporterError("QUEUE_INVALID", message, {
    remedy: "Write nats://host:4222/STREAM or tls://…, parameters behind a question mark; docs/queues.md lists them.",
  });
}

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid(`the ${what} of the queue's URL is not percent-encoded as it should be`);
  }
}

/** A secret may come with a line end, as editors leave it. */
function fileText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `cannot read ${path}, which the queue's URL names: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** Throws QUEUE_INVALID for a URL that is not understood, FILE_UNREADABLE for a file in it that cannot be read. */
export function parseNatsUrl(url: string, secrets: QueueSecrets): NatsAddress {
  const match = SHAPE.exec(url);
  if (match === null) throw invalid("the queue's URL is not like nats://host:4222/STREAM");
  const [, scheme = "", credentials, hosts = "", path = "", query = ""] = match;
  const parameters = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (!PARAMETERS.has(name)) throw invalid(`the queue's URL has an unknown parameter ${name}`);
    if (parameters.has(name)) throw invalid(`the queue's URL has the parameter ${name} twice`);
    parameters.set(name, value);
  }
  const servers = hosts.split(",").map(serverOf);
  const named = (name: string, otherwise: string, shape: RegExp): string => {
    const value = parameters.get(name) ?? otherwise;
    if (!shape.test(value)) throw invalid(`${name} of the queue's URL cannot be ${JSON.stringify(value)}: letters, digits, _ and - only`);
    return value;
  };
  const durationMs = (name: string, otherwiseMs: number, leastMs: number): number => {
    const text = parameters.get(name);
    if (text === undefined) return otherwiseMs;
    const ns = parseGoDuration(text);
    if (ns === undefined || ns / NS_PER_MS < leastMs)
      throw invalid(`${name} of the queue's URL is to be a duration of ${leastMs} ms or more, such as 30s`);
    return Math.round(ns / NS_PER_MS);
  };
  const integer = (name: string, otherwise: number, least: number, most: number): number => {
    const text = parameters.get(name);
    if (text === undefined) return otherwise;
    if (!/^-?\d{1,15}$/.test(text) || Number(text) < least || Number(text) > most)
      throw invalid(`${name} of the queue's URL is to be a whole number between ${least} and ${most}`);
    return Number(text);
  };
  const stream = path === "" ? DEFAULT_STREAM : decoded(path, "stream");
  if (!NAME.test(stream)) throw invalid(`the stream of the queue's URL cannot be ${JSON.stringify(stream)}: letters, digits, _ and - only`);
  const lower = stream.toLowerCase();
  return {
    location: `${scheme.toLowerCase()}://${servers.join(",")}/${stream}`,
    connection: {
      servers,
      ...tlsOf(scheme.toLowerCase() === "tls", parameters),
      ...authenticatorOf(credentials, secrets, parameters),
    },
    domain: parameters.get("domain"),
    stream,
    subject: named("subject", `${lower}.events`, SUBJECT),
    deadStream: named("dead-stream", `${stream}_DEAD`, NAME),
    deadSubject: named("dead-subject", `${lower}.dead`, SUBJECT),
    outStream: named("out-stream", `${stream}_OUT`, NAME),
    outSubject: named("out-subject", lower, SUBJECT),
    outMaxAgeMs: durationMs("out-max-age", 7 * DAY_MS, 0),
    consumer: named("consumer", "transporter-cp", NAME),
    ackWaitMs: durationMs("ack-wait", ACK_WAIT_MS, SHORTEST_ACK_WAIT_MS),
    maxDeliver: integer("max-deliver", 20, FEWEST_DELIVERIES, 1_000_000),
    dedupMs: durationMs("dedup", 120_000, 100),
    maxAgeMs: durationMs("max-age", 0, 0),
    maxBytes: integer("max-bytes", -1, -1, Number.MAX_SAFE_INTEGER),
    deadMaxAgeMs: durationMs("dead-max-age", 30 * DAY_MS, 0),
    replicas: integer("replicas", 1, 1, 5),
    timeoutMs: durationMs("timeout", 10_000, 100),
  };
}

function serverOf(host: string): string {
  const match = /^(\[[0-9a-f:]+\]|[^:[\]\s]+)(?::(\d{1,5}))?$/i.exec(host);
  if (match === null || Number(match[2] ?? 4222) > 65_535)
    throw invalid(`the queue's URL names a host that is none: ${JSON.stringify(host)}`);
  return `${match[1] ?? ""}:${match[2] ?? "4222"}`;
}

function tlsOf(wanted: boolean, parameters: ReadonlyMap<string, string>): Pick<ConnectionOptions, "tls"> {
  const [caFile, certFile, keyFile] = [parameters.get("ca"), parameters.get("cert"), parameters.get("key")];
  const handshakeFirst = ["1", "true"].includes(parameters.get("handshake-first") ?? "");
  if ((certFile === undefined) !== (keyFile === undefined)) throw invalid("cert and key of the queue's URL belong together");
  // Whoever names a certificate wants TLS, whatever the scheme says.
  if (!wanted && caFile === undefined && certFile === undefined && !handshakeFirst) return {};
  for (const file of [caFile, certFile, keyFile]) if (file !== undefined) fileText(file);
  return {
    tls: {
      handshakeFirst,
      ...(caFile === undefined ? {} : { caFile }),
      ...(certFile === undefined ? {} : { certFile }),
      ...(keyFile === undefined ? {} : { keyFile }),
    },
  };
}

/** The library wants a credentials file to end with a line end, and a seed to be nothing but itself. */
function bytesOf(path: string, end: "\n" | ""): () => Uint8Array {
  return () => new TextEncoder().encode(fileText(path).trim() + end);
}

/** Files are read again for each connection, so that what was renewed is used. */
function authenticatorOf(
  credentials: string | undefined,
  secrets: QueueSecrets,
  parameters: ReadonlyMap<string, string>,
): Pick<ConnectionOptions, "authenticator"> {
  const [creds, nkey, tokenFile, passwordFile] = ["creds", "nkey", "token-file", "password-file"].map((name) => parameters.get(name));
  for (const file of [creds, nkey, tokenFile, passwordFile]) if (file !== undefined) fileText(file);
  if (creds !== undefined) return { authenticator: credsAuthenticator(bytesOf(creds, "\n")) };
  if (nkey !== undefined) return { authenticator: nkeyAuthenticator(bytesOf(nkey, "")) };
  if (tokenFile !== undefined) return { authenticator: tokenAuthenticator(() => fileText(tokenFile).trim()) };
  const colon = credentials?.indexOf(":") ?? -1;
  const user = credentials === undefined ? undefined : decoded(colon < 0 ? credentials : credentials.slice(0, colon), "user");
  const password = credentials === undefined || colon < 0 ? undefined : decoded(credentials.slice(colon + 1), "password");
  const token = secrets.token;
  if (token !== undefined) return { authenticator: tokenAuthenticator(token) };
  const who = secrets.user ?? user;
  if (who === undefined || who === "") return {};
  if (passwordFile !== undefined) return { authenticator: usernamePasswordAuthenticator(who, () => fileText(passwordFile).trim()) };
  const known = secrets.password ?? password;
  // As NATS itself reads it: a name alone is a token.
  return { authenticator: known === undefined ? tokenAuthenticator(who) : usernamePasswordAuthenticator(who, known) };
}
