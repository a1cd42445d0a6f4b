import { describe, expect, test } from "bun:test";
import { FileLedger } from "../../src/agent/ledger-file.ts";
import { MemoryLedger, type NewDelivery } from "../../src/agent/ledger.ts";
import { silentLogger, systemPorts, TransporterError } from "../../src/kit/mod.ts";
import { configMap, eventFrame, fastPorts, MapCluster, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

const BEYOND = "An event came beyond the credit and is left alone; it will be handed over again";

/** A ledger whose disk is full when the test says so. */
class FullLedger extends MemoryLedger {
  full = false;
  #check(): Promise<void> {
    return this.full ? Promise.reject(new TransporterError("STORE_FULL", "the disk of the ledger is full")) : Promise.resolve();
  }
  override async record(entry: NewDelivery): Promise<void> {
    await this.#check();
    await super.record(entry);
  }
  override async finish(...args: Parameters<MemoryLedger["finish"]>): Promise<void> {
    await this.#check();
    await super.finish(...args);
  }
  override probe(): Promise<void> {
    return this.#check();
  }
}

describe("credit", () => {
  test("is said in the registration: 64 deliveries and 64 MiB unless told otherwise", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = { resources: new MapCluster().resources };
    await using _plain = await startTestAgent({ cpUrl: cp.url, cluster });
    expect((await cp.connection()).registration["credit"]).toEqual({ deliveries: 64, bytes: 64 * 1024 * 1024 });
    await using _told = await startTestAgent({ cpUrl: cp.url, cluster, id: "other", hold: { deliveries: 2, bytes: 5000 } });
    expect((await cp.connection(1)).registration["credit"]).toEqual({ deliveries: 2, bytes: 5000 });
  });

  test("what comes beyond it is neither held nor acknowledged, and nothing after it is taken; handed over again, it is done", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    const gate = Promise.withResolvers<void>();
    cluster.gates.set("shared", gate.promise);
    await using running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: cluster.resources },
      hold: { deliveries: 5, bytes: 1024 * 1024 },
    });
    const connection = await cp.connection();
    const frames = Array.from({ length: 200 }, (_, nth) => eventFrame(`e${nth}`, [configMap("shared")], { frame: { nth } }));
    for (const frame of frames) connection.send(frame);
    // The connection begins anew, so that what is left out cannot be overtaken by what comes after it.
    const second = await cp.connection(1);
    expect(running.said(BEYOND).length).toBeGreaterThan(0);
    expect(second.registration["credit"]).toEqual({ deliveries: 5, bytes: 1024 * 1024 });
    for (const [nth, frame] of frames.slice(0, 5).entries()) second.send({ ...frame, nth });
    await eventually(() => new Set(cp.frames("event_ack").map((ack) => ack["event_id"])).size === 5);
    expect(running.agent.state().running + running.agent.state().waiting).toBe(5);
    gate.resolve();
    await cp.ended("e4");
    second.send({ ...frames[5], nth: 5 });
    expect(await cp.ended("e5")).toMatchObject({ state: "completed" });
    expect(cluster.objects.get("shared")).toBe(6);
    expect(new Set(cp.frames("event_ack").map((ack) => ack["event_id"]))).toEqual(new Set(["e0", "e1", "e2", "e3", "e4", "e5"]));
  });

  test("by bytes: a flood of large events takes no more memory than was allowed", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    const gate = Promise.withResolvers<void>();
    cluster.gates.set("shared", gate.promise);
    await using running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: cluster.resources },
      hold: { deliveries: 64, bytes: 1_000_000 },
    });
    for (let link = 0; link < 3; link += 1) {
      const connection = await cp.connection(link);
      for (let at = 0; at < 60; at += 1) connection.send(eventFrame(`e${at}`, [configMap("shared", "default", "x".repeat(200_000))]));
      await eventually(() => connection.closed);
      expect(running.agent.state().running + running.agent.state().waiting).toBeLessThanOrEqual(4);
    }
    await eventually(() => running.agent.state().running + running.agent.state().waiting === 4);
    gate.resolve();
  });

  test("is 0 while the ledger cannot be written, in the next registration too, and all of it when it can; nothing is lost meanwhile", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    const gate = Promise.withResolvers<void>();
    cluster.gates.set("running", gate.promise);
    const ledger = new FullLedger();
    await using _running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: cluster.resources },
      ledger,
      ports: fastPorts(5),
    });
    const connection = await cp.connection();
    connection.send(eventFrame("running", [configMap("running")]));
    await eventually(() => cluster.history.length === 1);
    ledger.full = true;
    connection.send(eventFrame("e", [configMap("a")]));
    expect(await eventually(() => cp.frames("credit")[0])).toEqual({ type: "credit", deliveries: 0, bytes: 0 });
    gate.resolve();
    connection.terminate();
    const second = await cp.connection(1);
    expect(second.registration["credit"]).toEqual({ deliveries: 0, bytes: 0 });
    expect(cp.frames("event_ack").map((ack) => ack["event_id"])).toEqual(["running"]);
    expect(cp.statuses("running").some((status) => status["state"] === "completed")).toBe(false);
    ledger.full = false;
    await eventually(() => cp.frames("credit").at(-1)?.["deliveries"] === 64);
    expect(await cp.ended("running")).toMatchObject({ state: "completed" });
    expect(await cp.ended("e")).toMatchObject({ state: "completed" });
    expect([...cluster.objects.values()]).toEqual([1, 1]);
  });

  test("is not spoken of to a control plane that does not know it; there more is held, and not without bound", async () => {
    await using cp = await scriptedCp({ protocol: 2, features: ["ack"] });
    const cluster = new MapCluster();
    const gate = Promise.withResolvers<void>();
    cluster.gates.set("shared", gate.promise);
    await using running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: cluster.resources },
      hold: { deliveries: 5, bytes: 1024 * 1024 * 1024 },
    });
    const connection = await cp.connection();
    for (let at = 0; at < 1_100; at += 1) connection.send(eventFrame(`e${at}`, [configMap("shared")]));
    await cp.connection(1);
    expect(running.said(BEYOND).length).toBeGreaterThan(0);
    expect(cp.frames("credit")).toEqual([]);
    expect(running.agent.state().running + running.agent.state().waiting).toBe(1_024);
    gate.resolve();
  });
});

describe("the ledger's probe", () => {
  test("writes as much as an event brings, and leaves nothing", async () => {
    const { Database } = await import("bun:sqlite");
    const database = new Database(":memory:");
    const ledger = new FileLedger({
      stateDir: "nowhere",
      database,
      agentId: "a",
      clock: systemPorts.clock,
      timers: systemPorts.timers,
      log: silentLogger,
    });
    await ledger.probe();
    const pages = (): number => database.query<{ page_count: number }, []>("PRAGMA page_count").get()?.page_count ?? 0;
    expect(pages() * 4096).toBeGreaterThan(256 * 1024);
    const before = pages();
    for (let at = 0; at < 10; at += 1) await ledger.probe();
    expect(pages()).toBe(before);
    expect(database.query<{ n: number }, []>("SELECT count(*) AS n FROM probe").get()?.n).toBe(0);
    await ledger.close();
    database.close();
  });
});
