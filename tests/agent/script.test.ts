import { describe, expect, test } from "bun:test";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventFrame, MapCluster, startTestAgent } from "../support/agent.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

const CHILD = join(import.meta.dir, "poison-child.ts");

function scriptFrame(id: string, script: string): Record<string, unknown> {
  return eventFrame(id, [], { event: { type: "script", payload: { script, args: [] } } });
}

describe("a script", () => {
  test("that ends the process is never run again, and its end says that nobody knows; others run once", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-script-"));
    const state = join(directory, "state");
    const start = (): Promise<RunningProcess> => startProcess([process.execPath, CHILD, cp.url, state]);
    try {
      await using first = await start();
      const connection = await cp.connection();
      expect(connection.registration["capabilities"]).toEqual(["k8s_crud", "k8s_operations", "script_exec"]);
      connection.send(scriptFrame("good", "good"));
      expect(await cp.ended("good")).toMatchObject({ state: "completed" });
      connection.send(scriptFrame("bad", "die"));
      await first.exited;
      await using _second = await start();
      expect(await cp.ended("bad")).toMatchObject({ state: "failed", details: { code: "OUTCOME_UNKNOWN" } });
      // Handed over again, as a control plane does that has not seen the end.
      const again = await cp.connection(1);
      for (const [id, script] of [
        ["bad", "die"],
        ["good", "good"],
      ] as const)
        again.send(scriptFrame(id, script));
      again.send(scriptFrame("last", "last"));
      expect(await cp.ended("last")).toMatchObject({ state: "completed" });
      expect(await Bun.file(`${state}.ran`).text()).toBe("good\ndie\nlast\n");
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }, 60_000);

  test("is nothing for an agent that forgets with its process what it has begun", async () => {
    await using cp = await scriptedCp({ protocol: 2 });
    await using _running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { resources: new MapCluster().resources },
      runners: { script: () => Promise.resolve({ success: true }) },
    });
    const connection = await cp.connection();
    expect(connection.registration["capabilities"]).toEqual(["k8s_crud", "k8s_operations"]);
    connection.send(scriptFrame("e", "echo"));
    expect(await cp.ended("e")).toMatchObject({ state: "failed", details: { code: "CAPABILITY_MISSING" } });
  });
});
