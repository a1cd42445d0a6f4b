import { describe, expect, test } from "bun:test";
import { TransporterError } from "../../src/kit/mod.ts";
import { configMap, eventFrame, MapCluster, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { type ScriptedConnection, type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

type Parts = Parameters<typeof eventFrame>[2];

async function acknowledged(cp: ScriptedCp, count: number): Promise<void> {
  await eventually(() => cp.frames("event_ack").length >= count, { what: `${count} acknowledgements` });
}

function send(connection: ScriptedConnection, id: string, objects: readonly string[], event: NonNullable<Parts>["event"] = {}): void {
  connection.send(
    eventFrame(
      id,
      objects.map((name) => configMap(name)),
      { event },
    ),
  );
}

/** Names of objects in the order their applying began. */
function begun(cluster: MapCluster): string[] {
  return cluster.history.filter((entry) => entry.startsWith("start ")).map((entry) => entry.slice("start ".length));
}

/** An agent that does one event at a time and is held up by the first, `gate`, until it is opened. */
async function heldUp(
  cp: ScriptedCp,
): Promise<{ cluster: MapCluster; connection: ScriptedConnection; open: () => void } & AsyncDisposable> {
  const cluster = new MapCluster();
  const gate = Promise.withResolvers<void>();
  cluster.gates.set("gate", gate.promise);
  const running = await startTestAgent({ cpUrl: cp.url, cluster: { resources: cluster.resources }, maxConcurrent: 1 });
  const connection = await cp.connection();
  send(connection, "gate", ["gate"]);
  await eventually(() => begun(cluster).includes("gate"));
  return { cluster, connection, open: () => gate.resolve(), [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() };
}

describe("the order in which an agent carries out what it holds", () => {
  test("the most urgent first, wherever it stands; of the same urgency in the order accepted", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using agent = await heldUp(cp);
    for (let at = 0; at < 50; at += 1) send(agent.connection, `n${at}`, [`n${at}`]);
    send(agent.connection, "low", ["low"], { priority: -1 });
    for (const id of ["u1", "u2"]) send(agent.connection, id, [id], { priority: 9 });
    await acknowledged(cp, 54);
    agent.open();
    await cp.ended("low", 30_000);
    const order = begun(agent.cluster);
    expect(order.slice(0, 3)).toEqual(["gate", "u1", "u2"]);
    expect(order.slice(3, 53)).toEqual(Array.from({ length: 50 }, (_, at) => `n${at}`));
    expect(order.at(-1)).toBe("low");
  }, 60_000);

  test("an urgent event takes along what it has to wait for", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using agent = await heldUp(cp);
    send(agent.connection, "normal", ["other"], { priority: 5 });
    send(agent.connection, "deep", ["left"]);
    send(agent.connection, "middle", ["left", "right"]);
    send(agent.connection, "urgent", ["right"], { priority: 1_000 });
    await acknowledged(cp, 5);
    agent.open();
    await cp.ended("normal", 30_000);
    expect(begun(agent.cluster)).toEqual(["gate", "left", "left", "right", "right", "other"]);
  }, 60_000);

  test("what is not urgent gets its turn all the same, while urgent ones keep coming", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using agent = await heldUp(cp);
    send(agent.connection, "patient", ["patient"]);
    for (let at = 0; at < 30; at += 1) send(agent.connection, `u${at}`, [`u${at}`], { priority: 10 });
    await acknowledged(cp, 32);
    agent.open();
    await cp.ended("patient", 30_000);
    // `gate` was the first of every eight.
    expect(begun(agent.cluster).indexOf("patient")).toBe(7);
  }, 60_000);

  test("two that touch the same object keep their order while the first is tried again and again", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    const order: string[] = [];
    let failures = 3;
    await using _running = await startTestAgent({
      cpUrl: cp.url,
      cluster: {
        resources: (objects, context) => {
          const steps = cluster.resources(objects, context);
          const names = objects.map(({ ref }) => ref.name);
          return {
            ...steps,
            async apply() {
              order.push(names.join("+"));
              if (names.includes("flaky") && (failures -= 1) >= 0) throw new TransporterError("KUBE_UNAVAILABLE", "away");
              await steps.apply();
            },
          };
        },
      },
    });
    const connection = await cp.connection();
    send(connection, "first", ["shared", "flaky"], { retry: { backoff: "20ms" } });
    send(connection, "second", ["shared"], { priority: 100 });
    send(connection, "free", ["free"]);
    expect(await cp.ended("second")).toMatchObject({ state: "completed" });
    expect(await cp.ended("free")).toMatchObject({ state: "completed" });
    expect(await cp.ended("first")).toMatchObject({ state: "completed" });
    expect(order.filter((names) => names !== "free")).toEqual([...Array.from({ length: 4 }, () => "shared+flaky"), "shared"]);
  });
});
