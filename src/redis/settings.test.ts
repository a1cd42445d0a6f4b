import { describe, expect, test } from "bun:test";
import { findingsOf, type RedisFinding, type ServerFacts } from "./settings.ts";

const INFO = {
  redis_version: "7.0.15",
  role: "master",
  connected_slaves: "0",
  aof_enabled: "1",
  aof_last_write_status: "ok",
  rdb_last_bgsave_status: "ok",
  maxmemory: "0",
  maxmemory_policy: "noeviction",
  used_memory: "1000000",
  cluster_enabled: "0",
};
const CONFIG = {
  appendonly: "yes",
  appendfsync: "always",
  save: "",
  "maxmemory-policy": "noeviction",
  maxmemory: "0",
  "min-replicas-to-write": "0",
};

interface Case {
  readonly info?: Readonly<Record<string, string>>;
  readonly config?: Readonly<Record<string, string>> | "hidden";
  readonly wait?: number;
  readonly kind?: "single" | "sentinel" | "cluster";
}
function findings({ info = {}, config = {}, wait = 0, kind = "single" }: Case): readonly RedisFinding[] {
  const facts: ServerFacts = {
    info: new Map(Object.entries({ ...INFO, ...info })),
    config: config === "hidden" ? undefined : new Map(Object.entries({ ...CONFIG, ...config })),
  };
  return findingsOf(facts, { wait, kind });
}

describe("the settings of a server", () => {
  test("are all well where nothing can be lost", () => {
    const all = findings({});
    expect(all.map(({ name }) => name)).toEqual(["version", "appendonly", "appendfsync", "maxmemory-policy", "replicas"]);
    expect(all.filter(({ level }) => level !== "ok")).toEqual([]);
  });

  test.each<[string, Case, string, "ok" | "warning" | "error"]>([
    ["an old server", { info: { redis_version: "6.2.6" } }, "version", "error"],
    ["Valkey, which says that it is an old Redis", { info: { redis_version: "7.2.4", valkey_version: "8.0.1" } }, "version", "ok"],
    ["a replica", { info: { role: "slave" } }, "role", "error"],
    ["a cluster's node behind a single address", { info: { cluster_enabled: "1" } }, "mode", "error"],
    ["a cluster's node behind a cluster's address", { info: { cluster_enabled: "1" }, kind: "cluster" }, "version", "ok"],
    ["nothing on disk", { config: { appendonly: "no" } }, "appendonly", "error"],
    ["snapshots", { config: { appendonly: "no", save: "3600 1" } }, "appendonly", "warning"],
    ["nothing known but INFO", { config: "hidden" }, "appendonly", "ok"],
    ["nothing known but INFO, for fsync", { config: "hidden" }, "appendfsync", "warning"],
    ["INFO alone says no", { config: "hidden", info: { aof_enabled: "0" } }, "appendonly", "warning"],
    ["INFO says nothing either", { config: "hidden", info: { aof_enabled: "" } }, "appendonly", "warning"],
    ["everysec", { config: { appendfsync: "everysec" } }, "appendfsync", "warning"],
    ["everysec beside a replica", { config: { appendfsync: "everysec" }, wait: 1, info: { connected_slaves: "1" } }, "appendfsync", "ok"],
    ["no fsync", { config: { appendfsync: "no" } }, "appendfsync", "warning"],
    ["a full disk", { info: { aof_last_write_status: "err" } }, "disk", "error"],
    ["eviction", { config: { "maxmemory-policy": "allkeys-lru", maxmemory: "100" } }, "maxmemory-policy", "error"],
    ["eviction that is not switched on", { config: { "maxmemory-policy": "allkeys-lru" } }, "maxmemory-policy", "warning"],
    [
      "eviction by INFO alone",
      { config: "hidden", info: { maxmemory_policy: "volatile-lru", maxmemory: "9" } },
      "maxmemory-policy",
      "error",
    ],
    ["little memory left", { config: { maxmemory: "1100000" } }, "maxmemory-policy", "warning"],
    ["replicas that nobody waits for", { info: { connected_slaves: "2" } }, "replicas", "warning"],
    ["fewer replicas than are waited for", { info: { connected_slaves: "1" }, wait: 2 }, "replicas", "error"],
    ["sentinels without a replica", { kind: "sentinel" }, "replicas", "warning"],
    ["a replica that a write waits for", { info: { connected_slaves: "1" }, wait: 1 }, "replicas", "warning"],
    [
      "a replica that a write waits for on both sides",
      { info: { connected_slaves: "1" }, wait: 1, config: { "min-replicas-to-write": "1" } },
      "replicas",
      "ok",
    ],
  ])("%s", (_title, given, name, level) => {
    const finding = findings(given).find((one) => one.name === name);
    expect(finding?.level).toBe(level);
    // Whoever is told of a fault is told what to do.
    expect(finding?.remedy === undefined).toBe(level === "ok");
  });
});
