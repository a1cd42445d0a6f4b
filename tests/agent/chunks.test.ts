import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS, type PayloadRef } from "../../src/protocol/mod.ts";
import { apartFrame, configMap, eventFrame, fastPorts, MapCluster, noise, startTestAgent } from "../support/agent.ts";
import { startCp } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { flakyProxy } from "../support/flaky-proxy.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

interface StateDir extends AsyncDisposable {
  readonly path: string;
  /** Rows of a table of the agent's ledger. */
  count(table: string): number;
}
async function stateDir(): Promise<StateDir> {
  const path = await mkdtemp(join(tmpdir(), "transporter-chunks-"));
  return {
    path,
    count(table) {
      const db = new Database(join(path, "agent-agent-cluster-agent-1.db"), { readonly: true });
      try {
        return db.query<{ n: number }, []>(`SELECT count(*) AS n FROM ${table}`).get()?.n ?? -1;
      } finally {
        db.close();
      }
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

/** A payload of a ConfigMap that has about this many bytes on the wire too. */
function large(cp: ScriptedCp, name: string, bytes: number, more: Record<string, unknown> = {}): PayloadRef {
  return cp.keep({ manifests: [configMap(name, "default", noise(bytes, name.length))], ...more });
}

const offsets = (cp: ScriptedCp): number[] => cp.frames("payload_get").map((get) => Number(get["offset"]));
const pieces = (ref: PayloadRef): number => Math.ceil(ref.encoded_bytes / LIMITS.payloadPieceBytes);

describe("a large payload", () => {
  test("is fetched in pieces, acknowledged when it is whole, carried out, and leaves nothing behind", async () => {
    await using state = await stateDir();
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources }, stateDir: state.path });
    const connection = await cp.connection();
    const ref = large(cp, "big", 1_500_000);
    connection.send(apartFrame("e", ref));
    await cp.ended("e");
    expect(cluster.objects.get("big")).toBe(1);
    expect(offsets(cp)).toEqual(Array.from({ length: pieces(ref) }, (_, at) => at * LIMITS.payloadPieceBytes));
    const order = connection.texts.map((text) => (JSON.parse(text) as { type: string }).type).filter((type) => type !== "status_update");
    expect(order).toEqual([...offsets(cp).map(() => "payload_get"), "event_ack"]);
    await eventually(() => state.count("pieces") === 0 && state.count("payloads") === 0);
  });

  test("is fetched by an agent without a disk too", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources } });
    (await cp.connection()).send(apartFrame("e", large(cp, "big", 900_000)));
    expect(await cp.ended("e")).toMatchObject({ state: "completed" });
    expect(cluster.objects.get("big")).toBe(1);
  });

  test("small ones go past it: an event that came later and touches nothing of its own is known to wait, and is acknowledged at once", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources } });
    const connection = await cp.connection();
    cp.serving = false;
    connection.send(apartFrame("big", large(cp, "shared", 400_000)));
    connection.send(eventFrame("small", [configMap("shared")]));
    await eventually(() => cp.frames("event_ack").length === 1);
    expect(cp.frames("event_ack")[0]).toMatchObject({ event_id: "small" });
    // It could touch what the large one touches, which nobody knows yet.
    expect(running.agent.state().waiting).toBe(2);
    expect(cluster.history).toEqual([]);
    cp.serving = true;
    for (const get of cp.frames("payload_get")) connection.send(cp.piece(get));
    await cp.ended("small");
    expect(cp.frames("status_update").find((status) => status["phase"] === "received")?.["event_id"]).toBe("big");
    expect(cluster.history).toEqual(["start shared", "end shared", "start shared", "end shared"]);
  });

  test("says how long to verify and whether to force only when it is here, and that counts", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const seen: unknown[] = [];
    const cluster = new MapCluster();
    await using _running = await startTestAgent({
      cpUrl: cp.url,
      cluster: {
        resources(objects, context) {
          seen.push([context.forceConflicts, context.verifyTimeoutMs]);
          return cluster.resources(objects, context);
        },
      },
    });
    const ref = large(cp, "big", 300_000, { force_conflicts: true, verify_timeout: "7s" });
    (await cp.connection()).send(apartFrame("e", ref));
    await cp.ended("e");
    expect(seen).toEqual([[true, 7_000]]);
  });

  test("that several events have in common is fetched once", async () => {
    await using state = await stateDir();
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources }, stateDir: state.path });
    const connection = await cp.connection();
    const ref = large(cp, "big", 700_000);
    for (const id of ["a", "b", "c"]) connection.send(apartFrame(id, ref));
    await Promise.all(["a", "b", "c"].map((id) => cp.ended(id)));
    expect(cluster.objects.get("big")).toBe(3);
    expect(offsets(cp)).toHaveLength(pieces(ref));
    await eventually(() => state.count("pieces") === 0);
  });

  test("that the control plane has lost fails the event, and only that one", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources } });
    const connection = await cp.connection();
    connection.send(apartFrame("lost", { digest: "0".repeat(64), bytes: 1_000_000, encoding: "zstd", encoded_bytes: 300_000 }));
    connection.send(eventFrame("fine", [configMap("fine")]));
    expect(await cp.ended("lost")).toMatchObject({ state: "failed", details: { code: "PAYLOAD_LOST" } });
    expect(await cp.ended("fine")).toMatchObject({ state: "completed" });
  });

  test("called back while it is fetched, it ends, and is not fetched on", async () => {
    await using state = await stateDir();
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    await using _running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: cluster.resources },
      stateDir: state.path,
      ports: fastPorts(20),
    });
    const connection = await cp.connection();
    cp.serving = false;
    connection.send(apartFrame("e", large(cp, "big", 900_000)));
    const [first] = await eventually(() => (cp.frames("payload_get").length > 0 ? cp.frames("payload_get") : undefined));
    connection.send(cp.piece(first ?? {}));
    await eventually(() => offsets(cp).length === 2);
    connection.send({ type: "cancel", event_id: "e", revision: 1 });
    expect(await cp.ended("e")).toMatchObject({ state: "cancelled" });
    await eventually(() => state.count("pieces") === 0);
    expect(cluster.history).toEqual([]);
  });
});

describe("a large payload over a link that fails", () => {
  test("goes on where it was cut, again and again", async () => {
    await using state = await stateDir();
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    await using running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: cluster.resources },
      stateDir: state.path,
      ports: fastPorts(20),
    });
    const ref = large(cp, "big", 1_600_000);
    cp.serving = false;
    (await cp.connection()).send(apartFrame("e", ref));
    for (let cut = 0; cut < 4; cut += 1) {
      const connection = await cp.connection(cut);
      const asked = (): Record<string, unknown>[] =>
        connection.texts.map((text) => JSON.parse(text) as Record<string, unknown>).filter((frame) => frame["type"] === "payload_get");
      const get = await eventually(() => asked()[0]);
      expect(get["offset"]).toBe(cut * 2 * LIMITS.payloadPieceBytes);
      connection.send(cp.piece(get));
      const next = await eventually(() => asked()[1]);
      connection.send(cp.piece(next));
      await eventually(() => asked().length === 3);
      connection.terminate();
    }
    cp.serving = true;
    await cp.ended("e");
    expect(running.agent.state().registrations).toBe(5);
    expect(cluster.objects.get("big")).toBe(1);
    expect(new Set(offsets(cp)).size).toBe(pieces(ref));
    expect(offsets(cp)).toHaveLength(pieces(ref) + 4);
  });

  test("goes on after a restart of the agent, without being handed over again", async () => {
    await using state = await stateDir();
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = { resources: new MapCluster().resources };
    const ref = large(cp, "big", 900_000);
    cp.serving = false;
    {
      await using _first = await startTestAgent({ cpUrl: cp.url, cluster, stateDir: state.path });
      const connection = await cp.connection();
      connection.send(apartFrame("e", ref));
      for (let at = 0; at < 3; at += 1) {
        const get = await eventually(() => cp.frames("payload_get")[at]);
        connection.send(cp.piece(get));
      }
      await eventually(() => offsets(cp).length === 4);
    }
    expect(state.count("pieces")).toBe(3);
    cp.serving = true;
    await using _second = await startTestAgent({ cpUrl: cp.url, cluster, stateDir: state.path });
    expect(await cp.ended("e")).toMatchObject({ state: "completed" });
    expect(offsets(cp).filter((offset) => offset < 3 * LIMITS.payloadPieceBytes)).toHaveLength(3);
    expect(cp.frames("event_ack")).toHaveLength(1);
  });
});

describe("a large payload between both real sides", () => {
  const bigEvent = (id: string, name: string, bytes: number): Record<string, unknown> => ({
    id,
    type: "k8s_resource",
    target_agent: "agent-cluster-agent-1",
    payload: { manifests: [configMap(name, "default", noise(bytes, id.length))] },
  });

  test("arrives over a link that is cut after every other piece, once, and small ones with it", async () => {
    await using state = await stateDir();
    await using cp = await startCp();
    await using proxy = await flakyProxy({ targetPort: Number(new URL(cp.url).port) });
    proxy.cutAfterBytes = () => ({ down: 400_000 });
    const cluster = new MapCluster();
    await using running = await startTestAgent({
      cpUrl: `ws://127.0.0.1:${proxy.port}/ws`,
      cluster: { resources: cluster.resources },
      stateDir: state.path,
      ports: fastPorts(20),
    });
    expect((await cp.post("/v1/events", bigEvent("big", "big", 2_000_000))).status).toBe(202);
    expect((await cp.post("/v1/events", bigEvent("small", "small", 100))).status).toBe(202);
    for (const id of ["big", "small"]) {
      await eventually(async () => (await cp.json<{ state: string }>(`/v1/events/${id}`)).state === "completed", { timeoutMs: 20_000 });
    }
    expect(running.agent.state().registrations).toBeGreaterThan(3);
    expect(Object.fromEntries(cluster.objects)).toEqual({ big: 1, small: 1 });
  });

  test("is fetched once for several events, and none of it is left at the agent", async () => {
    await using state = await stateDir();
    await using cp = await startCp();
    const cluster = new MapCluster();
    await using _running = await startTestAgent({ cpUrl: cp.wsUrl, cluster: { resources: cluster.resources }, stateDir: state.path });
    const ids = Array.from({ length: 12 }, (_, at) => `e${at}`);
    for (const id of ids) expect((await cp.post("/v1/events", { ...bigEvent("same", "same", 600_000), id })).status).toBe(202);
    for (const id of ids) {
      await eventually(async () => (await cp.json<{ state: string }>(`/v1/events/${id}`)).state === "completed", { timeoutMs: 20_000 });
    }
    expect(cluster.objects.get("same")).toBe(ids.length);
    await eventually(() => state.count("pieces") === 0);
  });
});
