import { readFile } from "node:fs/promises";
import { messageOf, TransporterError } from "../../../kit/mod.ts";
import type { QueueSecrets } from "../../open.ts";
import { memphisName } from "./names.ts";

/** What a URL of Memphis says, its files read. */
export interface MemphisSettings {
  /** `host:port`; several are tried in turn. */
  readonly servers: readonly string[];
  readonly auth: MemphisAuth;
  /** Whose rights count, as the broker keeps it. */
  readonly username: string;
  readonly station: string;
  /** Name of the consumer and of its group: all control planes share one position. */
  readonly consumer: string;
  readonly producer: string;
  /** Of stations that are made; what exists keeps its own. */
  readonly partitions: number;
  readonly replicas: number;
  readonly retentionSeconds: number;
  readonly idempotencyWindowMs: number;
  /** How long a message may be in hand without a sign of life before somebody else gets it. */
  readonly ackWaitMs: number;
  readonly maxDeliveries: number;
  readonly tls: MemphisTls | undefined;
  /** For people, without secrets. */
  readonly location: string;
  /** A secret was written into the URL, where process lists show it. */
  readonly secretInUrl: boolean;
}
/** A broker runs in one mode or in the other, and refuses what is not its own. */
export type MemphisAuth =
  | { readonly kind: "token"; readonly token: string }
  | { readonly kind: "password"; readonly account: number; readonly password: string };
/** PEM texts; what is absent is the machine's default. */
export interface MemphisTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

const SHAPE = "memphis://[USER[:PASSWORD]@]HOST[:6666]/STATION?token-file=… or ?account=1&password-file=…";
const DEFAULT_PORT = 6666;
/** 0.1's own names: its producers and consumers go on with what they have. */
const DEFAULTS = { station: "transporter-events", consumer: "transporter-cp-consumer", producer: "transporter-cp", user: "root" } as const;
const NUMBERS = {
  account: { initial: 1, least: 0, most: 2_147_483_647 },
  partitions: { initial: 1, least: 1, most: 10_000 },
  replicas: { initial: 1, least: 1, most: 5 },
  // A broker's own default is one hour, which a weekend without a control plane would outlast.
  "retention-seconds": { initial: 7 * 86_400, least: 120, most: 3_153_600_000 },
  "idempotency-ms": { initial: 120_000, least: 100, most: 86_400_000 },
  "ack-wait-ms": { initial: 10_000, least: 1_000, most: 3_600_000 },
  // More than ten is ten to the broker.
  "max-deliveries": { initial: 10, least: 1, most: 10 },
} as const;
const TEXTS = ["token", "token-file", "password-file", "consumer", "producer", "tls", "ca", "cert", "key"] as const;

function invalid(why: string, remedy = `Write it as ${SHAPE}.`): TransporterError {
  return new TransporterError("QUEUE_INVALID", `the address of the Memphis broker ${why}`, { remedy });
}

/** Reads `memphis://…` and the files that it names. Throws QUEUE_INVALID or FILE_UNREADABLE; never repeats a secret. */
export async function readMemphisUrl(url: string, secrets: QueueSecrets = {}): Promise<MemphisSettings> {
  const parts = /^memphis:\/\/(?:([^@/?#]*)@)?([^@/?#]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(url);
  if (parts === null) throw invalid("is not one", `Write it as ${SHAPE}; write %40, %2F, %3F, %23 for @, /, ?, # in names and passwords.`);
  const [, credentials = "", authority = "", path = "", query = ""] = parts;
  const [userText = "", ...passwordText] = credentials.split(":");
  const given = parametersOf(query);
  const inUrl = { user: decoded(userText), password: decoded(passwordText.join(":")), token: given.get("token") ?? "" };
  const number = (name: keyof typeof NUMBERS): number => {
    const { initial, least, most } = NUMBERS[name];
    const text = given.get(name);
    if (text === undefined) return initial;
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most))
      throw invalid(`has ${name}=${JSON.stringify(text)}; it is a whole number from ${least} to ${most}`);
    return value;
  };
  const servers = authority.split(",").map(serverOf);
  const token = secrets.token ?? ((await secretFile(given, "token-file")) || inUrl.token);
  const password = secrets.password ?? ((await secretFile(given, "password-file")) || inUrl.password);
  const station = memphisName("station", decoded(path) || DEFAULTS.station);
  return {
    servers,
    auth: authOf(token, password, number("account")),
    username: (secrets.user ?? (inUrl.user || DEFAULTS.user)).toLowerCase(),
    station,
    consumer: memphisName("consumer", given.get("consumer") ?? DEFAULTS.consumer),
    producer: memphisName("producer", given.get("producer") ?? DEFAULTS.producer),
    partitions: number("partitions"),
    replicas: number("replicas"),
    retentionSeconds: number("retention-seconds"),
    idempotencyWindowMs: number("idempotency-ms"),
    ackWaitMs: number("ack-wait-ms"),
    maxDeliveries: number("max-deliveries"),
    tls: await tlsOf(given),
    location: `memphis://${servers.join(",")}`,
    secretInUrl: inUrl.password !== "" || inUrl.token !== "",
  };
}

function authOf(token: string, password: string, account: number): MemphisAuth {
  // As 0.1 did: whoever gives both has a broker in token mode.
  if (token !== "") return { kind: "token", token };
  if (password !== "") return { kind: "password", account, password };
  throw invalid(
    "comes without a connection token and without a password",
    "Give the one that the broker was set up with, in the environment or by token-file=PATH or password-file=PATH.",
  );
}

function serverOf(text: string): string {
  const parts = /^(\[[0-9a-fA-F:.]+\]|[^\s:[\]]+)(?::(\d{1,5}))?$/.exec(text);
  const port = Number(parts?.[2] ?? DEFAULT_PORT);
  if (parts === null || port < 1 || port > 65_535)
    throw invalid(`names the server ${JSON.stringify(text)}, which is not HOST or HOST:PORT`);
  return `${parts[1]}:${port}`;
}

function parametersOf(query: string): Map<string, string> {
  const known: readonly string[] = [...TEXTS, ...Object.keys(NUMBERS)];
  const given = new Map<string, string>();
  for (const pair of query.split("&")) {
    if (pair === "") continue;
    const [name = "", ...value] = pair.split("=");
    if (!known.includes(name))
      throw invalid(`has the parameter ${JSON.stringify(name)}, which is not one`, `Known are ${known.join(", ")}.`);
    if (given.has(name)) throw invalid(`gives ${name} twice`);
    given.set(name, decoded(value.join("=")));
  }
  return given;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalid("has a % that begins no code", "Write %25 for a %.");
  }
}

async function fileText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `the ${what} ${path} for Memphis cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

async function secretFile(given: ReadonlyMap<string, string>, name: "token-file" | "password-file"): Promise<string> {
  const path = given.get(name);
  if (path === undefined) return "";
  const text = (await fileText(path, name.replace("-", " "))).replace(/\r?\n$/, "");
  if (text === "") throw invalid(`names the ${name} ${path}, which is empty`, "Write the secret into it.");
  return text;
}

async function tlsOf(given: ReadonlyMap<string, string>): Promise<MemphisTls | undefined> {
  const wanted = given.get("tls");
  if (wanted !== undefined && wanted !== "0" && wanted !== "1") throw invalid(`has tls=${JSON.stringify(wanted)}; it is 1 or 0`);
  const files: { ca?: string; cert?: string; key?: string } = {};
  for (const name of ["ca", "cert", "key"] as const) {
    const path = given.get(name);
    if (path === undefined) continue;
    const text = await fileText(path, `TLS file (${name})`);
    if (!text.includes("-----BEGIN ")) throw invalid(`names the file ${path} as ${name}, which holds nothing in PEM form`);
    files[name] = text;
  }
  const any = Object.keys(files).length > 0;
  if (wanted === "0" && any) throw invalid("names TLS files and says tls=0");
  if ((files.cert === undefined) !== (files.key === undefined)) throw invalid("names only one of cert and key", "Give both.");
  return wanted === "1" || any ? files : undefined;
}
