import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { closeGiven, resetGiven } from "../../src/sqlite/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { anAgent, newEvent, TENANT } from "../support/store-inputs.ts";
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

describe("a given database", () => {
  test("emptied, it is as new, and whoever opens it anew counts from the beginning", async () => {
    const database = new Database(":memory:");
    const first = await openStore("memory:", { ports: systemPorts, log: silentLogger, database });
    const created = await first.createEvent(newEvent({ id: "one" }));
    await first.saveAgent(anAgent("agent-1"));
    resetGiven(database);
    const second = await openStore("memory:", { ports: systemPorts, log: silentLogger, database });
    expect(await second.counters()).toMatchObject({ total: 0, queued: 0 });
    expect(await second.getEvent(TENANT, "one", { payload: false, log: false })).toBeUndefined();
    expect(await second.getAgent(TENANT, "agent-1")).toBeUndefined();
    expect(await second.createEvent(newEvent({ id: "one" }))).toEqual(created);
    closeGiven(database);
  });
});
