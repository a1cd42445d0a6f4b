import { describe, expect } from "bun:test";
import { mkdtemp, readFile, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Problem } from "../../src/protocol/mod.ts";
import { eventFrame } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";
import { scriptedCp } from "../support/scripted-cp.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";
import type { MapAgentConfig } from "../wires/map-agent.ts";
import { type Answer, handIn, startOn, stateOf } from "./control-plane.ts";
import { diskTest, SmallDisk } from "./small-disk.ts";

const AGENT_PATH = join(import.meta.dir, "../wires/map-agent.ts");
const MIB = 1024 * 1024;

function startAgent(config: MapAgentConfig): Promise<RunningProcess> {
  return startProcess([process.execPath, AGENT_PATH, JSON.stringify(config)]);
}

async function effectsOf(path: string): Promise<string[]> {
  return (await readFile(path, "utf8").catch(() => "")).split("\n").filter((line) => line !== "");
}

/** Both kinds of "not now": no room, or not available. */
function expectRefused(answer: Answer): void {
  expect([503, 507]).toContain(answer.status);
  expect(answer.type).toBe("application/problem+json");
  expect(["STORE_FULL", "STORE_UNAVAILABLE"]).toContain((JSON.parse(answer.text) as Problem).code);
}

describe("a full disk", () => {
  diskTest(
    "of the control plane: nothing is accepted, agents stay, and it heals by itself with all that was accepted",
    async () => {
      await using disk = await SmallDisk.mount(12 * MIB);
      const home = await realpath(await mkdtemp(join(tmpdir(), "transporter-full-")));
      try {
        const effectsPath = join(home, "effects");
        const store = join(disk.path, "cp.db");
        const accepted: string[] = [];
        {
          await using cp = await startOn(store);
          await using agent = await startAgent({ id: "roomy", cpUrl: cp.wsUrl, stateDir: join(home, "state"), effectsPath });
          await agent.line(/Agent registered successfully/);
          // One that speaks the wire, so that what it is told can be seen; it is given events and does not answer yet.
          await using wire = await dialAgent(cp.wsUrl, protocol2({ id: "wire" }));
          for (const id of ["held-1", "held-2"]) {
            expect((await handIn(cp.url, id, "wire")).status).toBe(202);
            await wire.event(id);
          }
          // It fills up under load, with events for a real agent, for one that is away, large and small.
          disk.fill(3 * MIB);
          let refused = 0;
          for (let round = 0; refused === 0 && round < 400; round += 1) {
            const answers = await Promise.all([
              handIn(cp.url, `small-${round}`, "roomy"),
              handIn(cp.url, `large-${round}`, "away", 60_000),
              handIn(cp.url, `more-${round}`, "roomy"),
            ]);
            for (const answer of answers) {
              if (answer.status === 202) accepted.push(answer.id);
              else {
                expectRefused(answer);
                refused += 1;
              }
            }
          }
          expect(refused).toBeGreaterThan(0);
          expect(accepted.length).toBeGreaterThan(10);
          // To the last byte: not even a status fits any more.
          disk.fill();
          const full = await Promise.all(Array.from({ length: 20 }, (_, at) => handIn(cp.url, `never-${at}`, "roomy", 3000)));
          for (const answer of full) expectRefused(answer);
          const ready = await fetch(`${cp.url}/readyz`);
          expect(ready.status).toBe(503);
          expect(await ready.text()).toContain("STORE_FULL");
          expect((await fetch(`${cp.url}/livez`)).status).toBe(200);
          // What an agent tells now is not acknowledged: it could not be kept.
          wire.report("held-1");
          await eventually(async () => (await handIn(cp.url, "asked-meanwhile", "roomy", 3000)).status !== 202);
          expect(wire.frames.filter((frame) => frame["type"] === "status_ack")).toEqual([]);
          expect(((await (await fetch(`${cp.url}/health`)).json()) as { agent_count: number }).agent_count).toBe(2);

          disk.free();
          await eventually(async () => (await fetch(`${cp.url}/readyz`)).status === 200, { timeoutMs: 30_000, what: "ready again" });
          const after = await handIn(cp.url, "after", "roomy");
          expect(after.status).toBe(202);
          accepted.push("after");
          // What was told in vain takes effect, or the agent is asked for it again and tells it again.
          await eventually(
            async () => {
              const state = await stateOf(cp.url, "held-1");
              if (state !== "completed" && wire.frames.some((frame) => frame["type"] === "status_resend")) wire.report("held-1");
              return state === "completed";
            },
            { timeoutMs: 30_000, everyMs: 250, what: "the end of held-1" },
          );
          wire.report("held-2");
          await eventually(async () => (await stateOf(cp.url, "held-2")) === "completed", { timeoutMs: 20_000 });
          for (const id of accepted.filter((one) => !one.startsWith("large-")))
            await eventually(async () => (await stateOf(cp.url, id)) === "completed", { timeoutMs: 30_000, what: `the end of ${id}` });
          for (const { id } of full) expect((await fetch(`${cp.url}/v1/events/${id}`)).status).toBe(404);
          expect(agent.stdout()).not.toContain("UNHANDLEDREJECTION");
          await cp.process.kill("SIGKILL");
        }
        await using again = await startOn(store);
        for (const id of accepted) expect(await stateOf(again.url, id)).toBe(id.startsWith("large-") ? "queued" : "completed");
        const effects = await effectsOf(effectsPath);
        expect(effects.toSorted()).toEqual(accepted.filter((id) => !id.startsWith("large-")).toSorted());
      } finally {
        await rm(home, { recursive: true, force: true });
      }
    },
    120_000,
  );

  diskTest(
    "of an agent: nothing is acknowledged, it asks for nothing, and it heals by itself",
    async () => {
      await using disk = await SmallDisk.mount(8 * MIB);
      const home = await realpath(await mkdtemp(join(tmpdir(), "transporter-full-")));
      try {
        await using cp = await scriptedCp({ protocol: 2 });
        cp.reply = '{"message":"ok","status":"registered","protocol":"2","features":"ack,credit,cancel,chunk,resync"}';
        const effectsPath = join(home, "effects");
        await using agent = await startAgent({ id: "agent-cluster-agent-1", cpUrl: cp.url, stateDir: disk.path, effectsPath });
        const connection = await cp.connection();
        const nothing = { deliveries: 0 };
        const credits = (): number[] =>
          [connection.registration["credit"] ?? nothing, ...cp.frames("credit")].map((one) => (one as typeof nothing).deliveries);
        expect(credits()[0]).toBeGreaterThan(0);
        const acknowledged = (id: string): boolean => cp.frames("event_ack").some((frame) => frame["event_id"] === id);
        const manifest = (name: string): string =>
          `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: default\ndata:\n  value: "${"x".repeat(6000)}"\n`;
        connection.send(eventFrame("before", [manifest("before")]));
        await cp.ended("before");
        disk.fill();
        for (let at = 0; at < 5; at += 1) connection.send(eventFrame(`full-${at}`, [manifest(`full-${at}`)]));
        await eventually(() => credits().at(-1) === 0, { timeoutMs: 20_000, what: "a credit of nothing" });
        expect(cp.frames("event_ack").map((frame) => frame["event_id"])).toEqual(["before"]);
        expect(await effectsOf(effectsPath)).toEqual(["before"]);
        expect(connection.closed).toBeUndefined();

        disk.free();
        await eventually(() => (credits().at(-1) ?? 0) > 0, { timeoutMs: 40_000, what: "credit again" });
        // As a control plane does with what was not acknowledged.
        for (let at = 0; at < 5; at += 1)
          if (!acknowledged(`full-${at}`)) connection.send(eventFrame(`full-${at}`, [manifest(`full-${at}`)]));
        for (let at = 0; at < 5; at += 1) await cp.ended(`full-${at}`, 30_000);
        expect((await effectsOf(effectsPath)).toSorted()).toEqual(["before", "full-0", "full-1", "full-2", "full-3", "full-4"]);
        expect(agent.stdout()).not.toContain("UNHANDLEDREJECTION");
        expect(agent.stdout()).not.toContain("UNCAUGHTEXCEPTION");
      } finally {
        await rm(home, { recursive: true, force: true });
      }
    },
    120_000,
  );

  diskTest(
    "of an agent, with a real control plane: what was accepted there waits and is carried out once",
    async () => {
      await using disk = await SmallDisk.mount(8 * MIB);
      const home = await realpath(await mkdtemp(join(tmpdir(), "transporter-full-")));
      try {
        const effectsPath = join(home, "effects");
        await using cp = await startOn(join(home, "cp.db"));
        await using agent = await startAgent({ id: "narrow", cpUrl: cp.wsUrl, stateDir: disk.path, effectsPath });
        await agent.line(/Agent registered successfully/);
        expect((await handIn(cp.url, "before", "narrow")).status).toBe(202);
        await eventually(async () => (await stateOf(cp.url, "before")) === "completed");
        disk.fill();
        const ids = Array.from({ length: 40 }, (_, at) => `waits-${at}`);
        for (const id of ids) expect((await handIn(cp.url, id, "narrow", 6000)).status).toBe(202);
        await agent.line(/the disk of the ledger is full/, { timeoutMs: 20_000 });
        disk.free();
        for (const id of ids)
          await eventually(async () => (await stateOf(cp.url, id)) === "completed", { timeoutMs: 60_000, what: `the end of ${id}` });
        expect((await effectsOf(effectsPath)).toSorted()).toEqual(["before", ...ids].toSorted());
      } finally {
        await rm(home, { recursive: true, force: true });
      }
    },
    120_000,
  );
});
