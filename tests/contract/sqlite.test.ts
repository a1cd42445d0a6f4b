import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { closeGiven, resetGiven } from "../../src/sqlite/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { aClaim, anAudit, aReplica, newEvent, T0, TENANT } from "../support/store-inputs.ts";
import { storeContract } from "./store.ts";

const open = (url: string): Promise<Store> => openStore(url, { ports: systemPorts, log: silentLogger });

storeContract({
  name: "sqlite:",
  durable: true,
  async start() {
    const directory = await mkdtemp(join(tmpdir(), "transporter-store-"));
    const url = `sqlite:${join(directory, "store.db")}`;
    let store = await open(url);
    return {
      store,
      async reopen() {
        await store.close();
        store = await open(url);
        return store;
      },
      async [Symbol.asyncDispose]() {
        await store.close();
        await rm(directory, { recursive: true, force: true });
      },
    };
  },
});

storeContract({
  name: "memory:",
  durable: false,
  async start() {
    const store = await open("memory:");
    return {
      store,
      reopen: () => Promise.reject(new Error("a store in memory leaves nothing behind")),
      [Symbol.asyncDispose]: () => store.close(),
    };
  },
});

// Opened again without having been closed, as after a crash: what the simulation does thousands of times.
storeContract({
  name: "memory: over a given database",
  durable: true,
  async start() {
    const database = new Database(":memory:");
    const { clock, timers } = systemPorts;
    let crash: () => void = () => undefined;
    const next = (): Promise<Store> => {
      crash();
      let alive = true;
      crash = () => {
        alive = false;
      };
      const soon = (run: () => void): void => timers.soon(() => (alive ? run() : undefined));
      return openStore("memory:", { ports: { clock, timers: { ...timers, soon } }, log: silentLogger, database });
    };
    let store = await next();
    return {
      store,
      async reopen() {
        store = await next();
        return store;
      },
      async [Symbol.asyncDispose]() {
        await store.close();
        closeGiven(database);
      },
    };
  },
});

describe("a store of one process", () => {
  test("whoever it says is connected was so in the process before, and is not from the first lease on", async () => {
    const database = new Database(":memory:");
    const before = await openStore("memory:", { ports: systemPorts, log: silentLogger, database });
    await before.renewLease({ replica: aReplica("before"), ttlMs: 600_000, nowMs: T0 });
    const { epoch } = await before.claimAgent(aClaim("was-there", { replicaId: "before" }), anAudit());
    await before.importAgent({ ...aClaim("was-gone").agent, status: "disconnected", disconnectedAtMs: T0 - 1 });
    const store = await openStore("memory:", { ports: systemPorts, log: silentLogger, database });
    expect(store.info.shared).toBe(false);
    const lease = await store.renewLease({ replica: aReplica("after"), ttlMs: 600_000, nowMs: T0 + 100 });
    expect(lease).toEqual({ replicas: [aReplica("after")], lapsed: false, orphaned: [{ tenant: TENANT, id: "was-there" }] });
    expect(await store.getAgent(TENANT, "was-there")).toMatchObject({
      status: "disconnected",
      disconnectedAtMs: T0 + 100,
      replicaId: undefined,
      epoch,
    });
    expect(await store.getAgent(TENANT, "was-gone")).toMatchObject({ status: "disconnected", disconnectedAtMs: T0 - 1 });
    expect((await store.claimAgent(aClaim("was-there", { replicaId: "after" }), anAudit())).epoch).toBe(epoch + 1);
    await store.close();
    closeGiven(database);
  });
});

describe("a given database", () => {
  test("emptied, it is as new, and whoever opens it anew counts from the beginning", async () => {
    const database = new Database(":memory:");
    const first = await openStore("memory:", { ports: systemPorts, log: silentLogger, database });
    const created = await first.createEvent(newEvent({ id: "one" }));
    await first.claimAgent(aClaim("agent-1"), anAudit());
    resetGiven(database);
    const second = await openStore("memory:", { ports: systemPorts, log: silentLogger, database });
    expect(await second.counters()).toMatchObject({ total: 0, queued: 0 });
    expect(await second.getEvent(TENANT, "one", { payload: false, log: false })).toBeUndefined();
    expect(await second.getAgent(TENANT, "agent-1")).toBeUndefined();
    expect(await second.createEvent(newEvent({ id: "one" }))).toEqual(created);
    closeGiven(database);
  });
});
