import { describe, expect, test } from "bun:test";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { decodeFrame, type Delivery } from "../../src/agent/delivery.ts";
import { FileLedger } from "../../src/agent/ledger-file.ts";
import { type Ledger, MemoryLedger } from "../../src/agent/ledger.ts";
import type { StatusRecord } from "../../src/agent/status.ts";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";

interface StateDir extends AsyncDisposable {
  readonly path: string;
}

async function stateDir(): Promise<StateDir> {
  const path = await mkdtemp(join(tmpdir(), "transporter-kept-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

function open(path: string): FileLedger {
  return new FileLedger({ stateDir: path, agentId: "agent-1", clock: systemPorts.clock, timers: systemPorts.timers, log: silentLogger });
}

function delivery(id: string): Delivery {
  const event = { id, type: "k8s_resource", target_agent: "a", payload: { manifests: ["x: 1"] } };
  const decoded = decodeFrame(JSON.stringify({ type: "event", event, revision: 1 }));
  if (decoded.kind !== "event") throw new Error("no event");
  return decoded.delivery;
}

const LAST: StatusRecord = {
  state: "failed",
  phase: "failed",
  message: "m",
  level: "error",
  bootId: "boot",
  seq: 1,
  eventId: "e",
  revision: 1,
  timestamp: "t",
};

async function record(ledger: Ledger, id: string): Promise<Delivery> {
  const one = delivery(id);
  await ledger.record({ delivery: one, receivedAtMs: 1, expiresAtMs: undefined });
  return one;
}

describe("what an event has to remember", () => {
  test("is there after a restart, as it was set last, and nobody else's", async () => {
    await using dir = await stateDir();
    const before = open(dir.path);
    const one = await record(before, "one");
    const other = await record(before, "other");
    const text = `{"unicode":"\u{1f980} ä","big":9007199254740993}`.repeat(10_000);
    await before.keep(one.key, "before/0", "not this");
    await before.keep(one.key, "before/0", text);
    await before.close();
    const after = open(dir.path);
    await after.recover();
    expect(await after.kept(one.key, "before/0")).toBe(text);
    expect(await after.kept(one.key, "before/1")).toBeUndefined();
    expect(await after.kept(other.key, "before/0")).toBeUndefined();
    // Compressed: the text is half a megabyte.
    expect((await stat(after.path)).size).toBeLessThan(200_000);
    await after.close();
  });

  for (const kind of ["on disk", "in memory"] as const)
    test(`goes with the event's end, and the other events' stays, ${kind}`, async () => {
      await using dir = await stateDir();
      const ledger = kind === "on disk" ? open(dir.path) : new MemoryLedger();
      await ledger.recover();
      const [one, other] = [await record(ledger, "one"), await record(ledger, "other")];
      for (const { key } of [one, other]) await ledger.keep(key, "before/0", "text");
      await ledger.finish(one.key, one.work, LAST, 1);
      expect([await ledger.kept(one.key, "before/0"), await ledger.kept(other.key, "before/0")]).toEqual([undefined, "text"]);
      expect(ledger.lasting).toBe(kind === "on disk");
      await ledger.close();
    });

  test("goes at the start where its event is not known, as after a file that was begun anew", async () => {
    await using dir = await stateDir();
    const before = open(dir.path);
    await before.keep("nobody's", "before/0", "text");
    await before.close();
    const after = open(dir.path);
    await after.recover();
    expect(await after.kept("nobody's", "before/0")).toBeUndefined();
    await after.close();
  });

  test("has a bound in memory: what does not fit is refused and what is there stays", async () => {
    const ledger = new MemoryLedger();
    const noise = (): string => Buffer.from(crypto.getRandomValues(new Uint8Array(48 * 1024))).toString("base64");
    const large = Array.from({ length: 700 }, noise).join("");
    await ledger.keep("a", "first", large);
    expect(await ledger.keep("a", "second", large).catch((error: unknown) => error)).toMatchObject({ code: "STORE_FULL" });
    expect(await ledger.kept("a", "first")).toBe(large);
    // What takes its place needs no room beside it.
    await ledger.keep("a", "first", "small");
    await ledger.keep("b", "first", large.slice(0, 30_000_000));
    await ledger.keep("b", "second", "small");
    expect(await ledger.kept("b", "second")).toBe("small");
  });
});
