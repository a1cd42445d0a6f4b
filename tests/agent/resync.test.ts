import { describe, expect, test } from "bun:test";
import { openDigest } from "../../src/protocol/mod.ts";
import { apartFrame, configMap, eventFrame, fastPorts, MapCluster, noise, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

function gated(...names: readonly string[]): { readonly cluster: MapCluster; readonly open: (name: string) => void } {
  const cluster = new MapCluster();
  const gates = new Map(names.map((name) => [name, Promise.withResolvers<void>()]));
  for (const [name, gate] of gates) cluster.gates.set(name, gate.promise);
  return { cluster, open: (name) => gates.get(name)?.resolve() };
}

describe("what is open", () => {
  test("is in each heartbeat as a digest that the other side can compute, and in full when it is asked for", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const { cluster, open } = gated("running", "done");
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources }, ports: fastPorts(50) });
    const connection = await cp.connection();
    connection.send(eventFrame("running", [configMap("running")]));
    connection.send(eventFrame("waiting", [configMap("running")]));
    connection.send(eventFrame("done", [configMap("done")], { frame: { revision: 3 } }));
    await eventually(() => cluster.history.length === 2);
    cp.acknowledging = false;
    open("done");
    await cp.ended("done");
    cp.serving = false;
    const ref = cp.keep({ manifests: [configMap("apart", "default", noise(300_000))] });
    connection.send(apartFrame("apart", ref));
    await eventually(() => cp.frames("payload_get").length > 0);
    const keys = [
      { eventId: "running", revision: 1 },
      { eventId: "waiting", revision: 1 },
      { eventId: "apart", revision: 1 },
      { eventId: "done", revision: 3 },
    ];
    await eventually(() => JSON.stringify(cp.frames("heartbeat").at(-1)?.["open"]) === JSON.stringify(openDigest(keys)));
    connection.send({ type: "resync" });
    const [told] = await eventually(() => (cp.frames("open").length > 0 ? cp.frames("open") : undefined));
    expect(told).toEqual({
      type: "open",
      deliveries: [
        { event_id: "running", revision: 1, state: "running" },
        { event_id: "waiting", revision: 1, state: "waiting" },
        { event_id: "apart", revision: 1, state: "waiting" },
        { event_id: "done", revision: 3, state: "finished" },
      ],
    });
    open("running");
    cp.acknowledging = true;
    connection.send({ type: "status_resend" });
    connection.send({ type: "cancel", event_id: "apart", revision: 1 });
    await eventually(() => JSON.stringify(cp.frames("heartbeat").at(-1)?.["open"]) === JSON.stringify(openDigest([])));
  });

  test("is not spoken of to a control plane that does not compare", async () => {
    await using cp = await scriptedCp({ protocol: 2, features: ["ack"] });
    await using _running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: new MapCluster().resources },
      ports: fastPorts(50),
    });
    await eventually(() => cp.frames("heartbeat").length > 0);
    expect(Object.keys(cp.frames("heartbeat")[0] ?? {})).toEqual(["metrics", "timestamp", "type"]);
  });
});

describe("statuses", () => {
  test("are counted from 0 on each connection, and all that are not acknowledged are sent again from 0 when one is missed", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    cp.acknowledging = false;
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: new MapCluster().resources } });
    const connection = await cp.connection();
    connection.send(eventFrame("e", [configMap("a")]));
    await cp.ended("e");
    const told = (): Json[] => cp.frames("status_update");
    expect(told().map((status) => status["nth"])).toEqual([0, 1, 2, 3, 4]);
    connection.send({ type: "status_ack", boot_id: told()[0]?.["boot_id"], seq: 2 });
    connection.send({ type: "status_resend" });
    await eventually(() => told().length === 8);
    expect(
      told()
        .slice(5)
        .map((status) => [status["seq"], status["nth"]]),
    ).toEqual([
      [3, 0],
      [4, 1],
      [5, 2],
    ]);
    connection.terminate();
    await cp.connection(1);
    await eventually(() => told().length === 11);
    expect(
      told()
        .slice(8)
        .map((status) => [status["seq"], status["nth"]]),
    ).toEqual([
      [3, 0],
      [4, 1],
      [5, 2],
    ]);
  });

  test("are sent again when none is acknowledged for half a minute, on the link that stands", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    cp.acknowledging = false;
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: new MapCluster().resources }, ports: fastPorts(50) });
    (await cp.connection()).send(eventFrame("e", [configMap("a")]));
    await cp.ended("e");
    await eventually(() => cp.statuses("e").length >= 10);
    cp.acknowledging = true;
    await eventually(() => running.agent.state().unacknowledged === 0);
    expect(running.agent.state().registrations).toBe(1);
  });
});

describe("an event that is called back", () => {
  test("waiting, it ends at once and is never started; running, at a safe point; unknown or over, nothing happens", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const { cluster, open } = gated("a");
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources } });
    const connection = await cp.connection();
    connection.send(eventFrame("running", [configMap("a"), configMap("b")]));
    connection.send(eventFrame("waiting", [configMap("a")]));
    await eventually(() => cluster.history.length === 1 && running.agent.state().waiting === 1);
    connection.send({ type: "cancel", event_id: "waiting", revision: 1 });
    expect(await cp.ended("waiting")).toMatchObject({ state: "cancelled", details: { code: "EVENT_CANCELLED" } });
    connection.send({ type: "cancel", event_id: "nobody", revision: 1 });
    connection.send({ type: "cancel", event_id: "running", revision: 2 });
    connection.send({ type: "cancel", event_id: "running", revision: 1 });
    open("a");
    expect(await cp.ended("running")).toMatchObject({ state: expect.stringMatching(/^(cancelled|completed)$/) });
    connection.send({ type: "cancel", event_id: "running", revision: 1 });
    connection.send(eventFrame("after", [configMap("a")]));
    expect(await cp.ended("after")).toMatchObject({ state: "completed" });
    expect(cp.statuses("running").filter((status) => status["state"] !== "in_progress")).toHaveLength(1);
    expect(cp.statuses("waiting")).toHaveLength(1);
  });
});

describe("turned away at the door", () => {
  test("with 503 it comes again within seconds, and is there when it is let in", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    cp.refusing = 503;
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: new MapCluster().resources }, ports: fastPorts(20) });
    await eventually(() => cp.refused >= 3);
    const lines = running.said("Cannot connect to Control Plane");
    const waits = lines.map((line) => Number(line.fields["retry_in_ms"]));
    // By these words alone the agent knows that it was turned away and the Control Plane is well.
    expect(lines[0]?.fields["error"]).toContain("503");
    expect(Math.max(...waits)).toBeLessThanOrEqual(5_000);
    cp.refusing = undefined;
    await cp.connection();
  });
});
