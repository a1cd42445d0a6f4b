import { messageOf } from "../kit/mod.ts";
import type { RedisClient, RedisLink } from "./link.ts";

/** One thing that promises rest on; a `StoreFinding` of the store port. */
export interface RedisFinding {
  readonly name: string;
  readonly level: "ok" | "warning" | "error";
  readonly message: string;
  /** What is lost otherwise, and what to do. */
  readonly remedy?: string;
}

/** What a server says of itself. What it does not tell is undefined. */
export interface ServerFacts {
  readonly info: ReadonlyMap<string, string>;
  /** Undefined where the server does not let us look. */
  readonly config: ReadonlyMap<string, string> | undefined;
}

const CONFIG_NAMES = ["appendonly", "appendfsync", "save", "maxmemory-policy", "maxmemory", "min-replicas-to-write"] as const;
const OLDEST_MAJOR = 7;
const ORDER = ["ok", "warning", "error"] as const;

/** Asks the server (of a cluster: every master, as ours may be moved) and says what its settings lose. Rejects when it does not answer. */
export async function inspectRedis(link: RedisLink): Promise<readonly RedisFinding[]> {
  const all = await Promise.all(link.nodes().map(async (node) => findingsOf(await factsOf(node), link.address)));
  const worst = new Map<string, RedisFinding>();
  for (const finding of all.flat()) {
    const other = worst.get(finding.name);
    if (other === undefined || ORDER.indexOf(finding.level) > ORDER.indexOf(other.level)) worst.set(finding.name, finding);
  }
  return [...worst.values()];
}

async function factsOf(node: RedisClient): Promise<ServerFacts> {
  const info = new Map<string, string>();
  for (const line of (await node.info()).split(/\r?\n/)) {
    const at = line.indexOf(":");
    if (at > 0 && !line.startsWith("#")) info.set(line.slice(0, at), line.slice(at + 1));
  }
  // Refused to users without the right, and unknown with some providers.
  const config = await node.call("CONFIG", "GET", ...CONFIG_NAMES).then(pairsOf, (error: unknown) => {
    if (/NOPERM|unknown|disabled|not allowed|denied/i.test(messageOf(error))) return undefined;
    throw error;
  });
  return { info, config };
}

function pairsOf(reply: unknown): ReadonlyMap<string, string> | undefined {
  if (!Array.isArray(reply) || reply.length === 0) return undefined;
  const texts = reply.map(String);
  return new Map(texts.flatMap((name, index) => (index % 2 === 0 ? [[name, texts[index + 1] ?? ""] as const] : [])));
}

/** Pure: what these facts mean for what is kept there. */
export function findingsOf(
  { info, config }: ServerFacts,
  { wait, kind }: { readonly wait: number; readonly kind: "single" | "sentinel" | "cluster" },
): RedisFinding[] {
  const setting = (name: string): string | undefined => config?.get(name) ?? info.get(name.replaceAll("-", "_"));
  const replicas = Number(info.get("connected_slaves") ?? 0);
  return [
    version(info),
    mode(info, kind),
    role(info),
    ...persistence(info, config, wait),
    disk(info),
    eviction(setting("maxmemory-policy"), Number(setting("maxmemory") ?? 0), Number(info.get("used_memory") ?? 0)),
    replication(replicas, wait, config?.get("min-replicas-to-write"), kind),
  ].filter((finding) => finding !== undefined);
}

const ok = (name: string, message: string): RedisFinding => ({ name, level: "ok", message });
const warning = (name: string, message: string, remedy: string): RedisFinding => ({ name, level: "warning", message, remedy });
const fault = (name: string, message: string, remedy: string): RedisFinding => ({ name, level: "error", message, remedy });

function version(info: ReadonlyMap<string, string>): RedisFinding {
  const valkey = info.get("valkey_version");
  const text = valkey ?? info.get("redis_version") ?? "";
  const named = `${valkey === undefined ? "Redis" : "Valkey"} ${text === "" ? "of an unknown version" : text}`;
  return Number.parseInt(text, 10) >= OLDEST_MAJOR
    ? ok("version", named)
    : fault("version", `${named}; nothing below ${OLDEST_MAJOR} was tried`, "Use Redis 7 or later, or Valkey.");
}

function mode(info: ReadonlyMap<string, string>, kind: "single" | "sentinel" | "cluster"): RedisFinding | undefined {
  if (kind === "cluster" || info.get("cluster_enabled") !== "1") return undefined;
  return fault(
    "mode",
    "the server is a node of a Redis Cluster",
    "Write redis+cluster:// or rediss+cluster://, or what lies on other nodes is refused.",
  );
}

function role(info: ReadonlyMap<string, string>): RedisFinding | undefined {
  if ((info.get("role") ?? "master") === "master") return undefined;
  return fault(
    "role",
    "the server is a replica and takes no writes",
    "Name the master; redis+sentinel:// finds it by itself, also after a failover.",
  );
}

function persistence(info: ReadonlyMap<string, string>, config: ReadonlyMap<string, string> | undefined, wait: number): RedisFinding[] {
  const appends = config?.get("appendonly") ?? ({ "1": "yes", "0": "no" } as Record<string, string>)[info.get("aof_enabled") ?? ""];
  if (appends === undefined)
    return [
      warning(
        "appendonly",
        "whether it writes what it accepts to disk cannot be known",
        "Allow its user +info and +config|get, or see to it yourself that appendonly is yes.",
      ),
    ];
  if (appends !== "yes") {
    const saves = config?.get("save");
    return [
      saves === ""
        ? fault("appendonly", "the server keeps nothing on disk", "Everything is lost when Redis ends. Set appendonly yes.")
        : warning(
            "appendonly",
            "the server writes snapshots only",
            "What was accepted after the last snapshot is lost when Redis ends, which may be minutes. Set appendonly yes.",
          ),
    ];
  }
  const fsync = config?.get("appendfsync");
  return [
    ok("appendonly", "what is accepted is appended to a file"),
    fsync === undefined
      ? warning(
          "appendfsync",
          "how soon that file is forced to disk cannot be known",
          "With everysec up to a second is lost when the machine loses power, with no more. Allow +config|get, or see to it yourself.",
        )
      : fsync === "always"
        ? ok("appendfsync", "always: on disk before it is acknowledged")
        : fsync === "everysec"
          ? wait > 0
            ? ok("appendfsync", `everysec, and ${wait} ${wait === 1 ? "replica has" : "replicas have"} it before it is acknowledged`)
            : warning(
                "appendfsync",
                "everysec: forced to disk once a second",
                "Up to the last second of what was accepted is lost when the machine of Redis loses power (not when Redis alone dies). Set appendfsync always, or have a replica and wait=1 in the address.",
              )
          : warning(
              "appendfsync",
              `${fsync}: forced to disk when the machine likes to`,
              "Half a minute and more of what was accepted is lost when the machine of Redis loses power. Set appendfsync everysec or always.",
            ),
  ];
}

function disk(info: ReadonlyMap<string, string>): RedisFinding | undefined {
  const bad = ["aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"].filter(
    (name) => (info.get(name) ?? "ok") !== "ok",
  );
  if (bad.length === 0) return undefined;
  return fault(
    "disk",
    `its last write to disk failed (${bad.join(", ")})`,
    "Look into the log of the Redis server: its disk is full or its directory cannot be written.",
  );
}

function eviction(policy: string | undefined, maxBytes: number, usedBytes: number): RedisFinding {
  const name = "maxmemory-policy";
  if (policy === undefined)
    return warning(
      name,
      "what it does when memory runs out cannot be known",
      "It must be noeviction: anything else removes events that were accepted.",
    );
  if (policy !== "noeviction")
    return maxBytes === 0
      ? warning(
          name,
          `${policy}, with no maxmemory set`,
          "The day that somebody sets maxmemory, Redis removes events that were accepted. Set maxmemory-policy noeviction.",
        )
      : fault(
          name,
          `${policy}: it removes keys when memory runs out`,
          "Events that were accepted vanish without a word. Set maxmemory-policy noeviction.",
        );
  if (maxBytes > 0 && usedBytes > maxBytes * 0.85)
    return warning(
      name,
      `noeviction, and ${Math.round((usedBytes / maxBytes) * 100)} % of maxmemory is used`,
      "When it is full nothing is accepted any more. Raise maxmemory, or shorten --retention and --audit-retention.",
    );
  return ok(name, "noeviction: when memory runs out it refuses, and forgets nothing");
}

function replication(replicas: number, wait: number, least: string | undefined, kind: "single" | "sentinel" | "cluster"): RedisFinding {
  const name = "replicas";
  if (wait > replicas)
    return fault(
      name,
      `${replicas} of the ${wait} that wait=${wait} asks for`,
      "No write is acknowledged until they are there. Bring them back, or lower wait.",
    );
  if (replicas === 0)
    return kind === "single"
      ? ok(name, "none: nothing takes over when this server goes, and nothing is lost by taking over")
      : warning(name, "none: nothing takes over when this server goes", "Add a replica on another machine, and wait=1 to the address.");
  if (wait === 0)
    return warning(
      name,
      `${replicas}, written to later than it acknowledges`,
      "A failover loses what the new master had not got yet, usually some milliseconds, behind a broken network up to its detection. Add wait=1 to the address.",
    );
  if (least !== undefined && Number(least) < wait)
    return warning(
      name,
      `${replicas}, of which ${wait} must have a write; min-replicas-to-write is ${least}`,
      `A master that was cut off goes on with those connected to it and what it took is thrown away later; wait=${wait} keeps it from being acknowledged. Set min-replicas-to-write ${wait} as well.`,
    );
  return ok(name, `${replicas}, and ${wait} of them must have a write before it is acknowledged`);
}
