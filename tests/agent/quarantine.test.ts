import { describe, expect, test } from "bun:test";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configMap, eventFrame } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

const CHILD = join(import.meta.dir, "poison-child.ts");

interface Home extends AsyncDisposable {
  start(): Promise<RunningProcess>;
}

async function agentHome(cp: ScriptedCp): Promise<Home> {
  const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-poison-"));
  return {
    start: () => startProcess([process.execPath, CHILD, cp.url, join(directory, "state")]),
    async [Symbol.asyncDispose]() {
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** How often it went on after a restart; what was said of that and not acknowledged before the next crash is said again. */
const resumed = (cp: ScriptedCp, id: string): number =>
  new Set(
    cp
      .statuses(id)
      .filter((status) => status["message"] === "Execution resumed after a restart of the agent")
      .map((status) => `${String(status["boot_id"])} ${String(status["seq"])}`),
  ).size;

describe("an event that ends the agent's process", () => {
  test("three times is put aside, with the reason; the agent lives on, and what was there beside it and after it completes", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using home = await agentHome(cp);
    const good = Array.from({ length: 8 }, (_, at) => `good${at}`);
    for (let crash = 1; crash <= 3; crash += 1) {
      await using agent = await home.start();
      if (crash === 1) {
        const connection = await cp.connection();
        for (const id of good.slice(0, 3)) connection.send(eventFrame(id, [configMap(id)]));
        connection.send(eventFrame("bad", [configMap("poison")]));
        for (const id of good.slice(3)) connection.send(eventFrame(id, [configMap(id)]));
      }
      await agent.exited;
    }
    await using _survivor = await home.start();
    const last = await cp.ended("bad", 30_000);
    expect(last).toMatchObject({ state: "failed", details: { code: "EVENT_QUARANTINED", crashes: 3, phase: "applying" } });
    expect(last["message"]).toBe("the agent's process ended 3 times while it carried out this event, the last time while applying");
    const connection = await cp.connection(cp.connections.length - 1);
    connection.send(eventFrame("after", [configMap("after")]));
    for (const id of [...good, "after"]) {
      // What had not been acknowledged before a crash is handed over again by a control plane; this one has to be told to.
      if (!cp.statuses(id).some((status) => status["state"] === "completed")) connection.send(eventFrame(id, [configMap(id)]));
      expect(await cp.ended(id, 30_000)).toMatchObject({ state: "completed" });
    }
  }, 90_000);

  test("while its manifests are read, for they are large, is put aside as well, and not with it what ran beside it", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using home = await agentHome(cp);
    const large = configMap("large", "default", `lethal ${"x".repeat(300_000)}`);
    for (let crash = 1; crash <= 3; crash += 1) {
      await using agent = await home.start();
      if (crash === 1) {
        const connection = await cp.connection();
        connection.send(eventFrame("slow", [configMap("slow")]));
        await eventually(() => cp.statuses("slow").some((status) => status["phase"] === "verifying"), { timeoutMs: 20_000 });
        connection.send(eventFrame("large", [large]));
      } else if (crash === 2) {
        // Under suspicion both; as long as the one runs, the other is not read.
        await eventually(() => cp.statuses("slow").filter((status) => status["phase"] === "verifying").length === 2, { timeoutMs: 20_000 });
        (await cp.connection(cp.connections.length - 1)).send({ type: "cancel", event_id: "slow", revision: 1 });
      }
      await agent.exited;
    }
    await using _survivor = await home.start();
    expect(await cp.ended("large", 30_000)).toMatchObject({
      state: "failed",
      details: { code: "EVENT_QUARANTINED", crashes: 3, phase: "reading" },
      message: "the agent's process ended 3 times while it carried out this event, the last time while reading its manifests",
    });
    expect(await cp.ended("slow", 30_000)).toMatchObject({ state: "cancelled" });
  }, 90_000);

  test("by being stopped on purpose is not to blame, however often", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using home = await agentHome(cp);
    for (let stop = 1; stop <= 4; stop += 1) {
      await using agent = await home.start();
      const connection = await cp.connection(stop - 1);
      if (stop === 1) connection.send(eventFrame("slow", [configMap("slow")]));
      const verifying = (): number => cp.statuses("slow").filter((status) => status["phase"] === "verifying").length;
      await eventually(() => verifying() === stop, { timeoutMs: 20_000 });
      expect(await agent.kill("SIGTERM")).toBe(0);
    }
    await using _last = await home.start();
    await eventually(() => resumed(cp, "slow") === 4, { timeoutMs: 20_000 });
    expect(cp.statuses("slow").every((status) => status["state"] === "in_progress")).toBe(true);
  }, 90_000);
});
