import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MemoryLedger } from "../../src/agent/ledger.ts";
import { TransporterError } from "../../src/kit/mod.ts";
import { eventFrame, fastPorts, MapCluster, startTestAgent } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { scriptedCp } from "../support/scripted-cp.ts";

async function stateDir(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "transporter-epoch-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

function replyOf(epoch: number): string {
  return JSON.stringify({
    status: "registered",
    message: "ok",
    protocol: "2",
    features: "ack,credit,cancel,chunk,resync",
    epoch: String(epoch),
  });
}

const mapped = { resources: new MapCluster().resources };

describe("the highest epoch", () => {
  test("is told with each registration, and outlives the process", async () => {
    await using state = await stateDir();
    await using cp = await scriptedCp({ protocol: 2 });
    cp.reply = replyOf(12);
    {
      await using _first = await startTestAgent({ cpUrl: cp.url, cluster: mapped, stateDir: state.path });
      expect((await cp.connection()).registration["seen_epoch"]).toBe(0);
      await eventually(() => _first.agent.state().link === "registered");
    }
    cp.reply = replyOf(13);
    await using second = await startTestAgent({ cpUrl: cp.url, cluster: mapped, stateDir: state.path });
    expect((await cp.connection(1)).registration["seen_epoch"]).toBe(12);
    await eventually(() => second.agent.state().link === "registered");
  });

  test("a control plane that is behind it is left, and what it commands is not done", async () => {
    await using state = await stateDir();
    await using behind = await scriptedCp({ protocol: 2 });
    await using ahead = await scriptedCp({ protocol: 2 });
    const cluster = new MapCluster();
    ahead.reply = replyOf(20);
    const manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-behind\n  namespace: default\n";
    await using running = await startTestAgent({
      cpUrl: [ahead.url, behind.url],
      cluster: { resources: cluster.resources },
      stateDir: state.path,
      ports: { ...fastPorts(5), random: { float: () => 0 } },
    });
    await eventually(() => running.agent.state().link === "registered");
    // It was put back to an earlier state, or stood still while others went on.
    behind.reply = replyOf(20);
    ahead.refusing = 503;
    (await ahead.connection()).close(1001, "stopping");
    const left = await behind.connection();
    expect(left.registration["seen_epoch"]).toBe(20);
    left.send(eventFrame("commanded", [manifest]));
    await eventually(() => left.closed !== undefined, { what: "its end" });
    expect(cluster.objects.size).toBe(0);
    expect(behind.frames("event_ack")).toEqual([]);
    ahead.refusing = undefined;
    ahead.reply = replyOf(21);
    await eventually(() => running.agent.state().registrations === 2, { what: "the way back" });
    const lines = running.said("The Control Plane is behind one that this agent has seen, and is left");
    expect(lines[0]?.fields).toMatchObject({ epoch: 20 });
  });

  test("is kept in memory where the ledger takes nothing, so that what is told may still make room", async () => {
    class Full extends MemoryLedger {
      override saveEpoch(): Promise<void> {
        return Promise.reject(new TransporterError("STORE_FULL", "no space left"));
      }
    }
    await using cp = await scriptedCp({ protocol: 2 });
    cp.reply = replyOf(3);
    await using running = await startTestAgent({ cpUrl: cp.url, cluster: mapped, ledger: new Full() });
    await eventually(() => running.agent.state().link === "registered");
    cp.reply = replyOf(4);
    (await cp.connection()).terminate();
    expect((await cp.connection(1)).registration["seen_epoch"]).toBe(3);
    expect(running.said("The epoch of the connection is kept in memory alone")).not.toEqual([]);
  });
});
