import { mkdir, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "bun:test";
import { HEALTH, HealthFile, type HealthReport } from "../../src/agent/health-file.ts";
import { agentHealth } from "../../src/agent/health.ts";
import { judgeHealthFile } from "../../src/cli/health-verdict.ts";
import { manualPorts, silentLogger } from "../../src/kit/mod.ts";
import { temporaryDirectory } from "../support/cli.ts";
import { eventually } from "../support/eventually.ts";

const READY: HealthReport = { ready: true, summary: "connected", details: { link: "registered" } };

async function started(report: () => HealthReport = () => READY) {
  const directory = await temporaryDirectory();
  const time = manualPorts();
  const path = join(directory.path, "deeper", "health.json");
  const file = new HealthFile({ path, report, ports: time.ports, log: silentLogger });
  await file.start();
  const now = (): number => time.ports.clock.now();
  // What is written is seen only after real work of the disk.
  const beat = async (): Promise<void> => {
    const before = now();
    await time.advance(HEALTH.everyMs);
    await eventually(async () => Number(JSON.parse(await readFile(path, "utf8")).written_at_ms) > before);
  };
  return { path, file, time, now, beat, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

/** The record as it lies there, changed; as old as its own word says. */
async function rewrite(path: string, change: Readonly<Record<string, unknown>>): Promise<void> {
  const record = { ...JSON.parse(await readFile(path, "utf8")), ...change };
  await writeFile(path, JSON.stringify(record));
  await utimes(path, Number(record.written_at_ms) / 1000, Number(record.written_at_ms) / 1000);
}

describe("the health file", () => {
  test("is there at once, says what it is told to, and goes with its writer", async () => {
    await using one = await started();
    expect(judgeHealthFile(one.path, "live", one.now())).toEqual({ ok: true, text: `process ${process.pid} wrote ${one.path} 0.0 s ago` });
    expect(judgeHealthFile(one.path, "ready", one.now())).toEqual({ ok: true, text: "connected" });
    expect(JSON.parse(await readFile(one.path, "utf8"))).toMatchObject({ version: 1, pid: process.pid, details: { link: "registered" } });
    await one.file.stop();
    expect(await readdir(join(one.path, ".."))).toEqual([]);
    expect(judgeHealthFile(one.path, "live", one.now())).toMatchObject({ ok: false, text: expect.stringContaining("is not there") });
  });

  test("is live as long as it is written, and tells a loop that stands still by its age", async () => {
    await using one = await started();
    for (let round = 0; round < 4; round += 1) await one.beat();
    expect(judgeHealthFile(one.path, "live", one.now())).toMatchObject({ ok: true });
    const writtenMs = one.now();
    await utimes(one.path, writtenMs / 1000, writtenMs / 1000);
    expect(judgeHealthFile(one.path, "live", writtenMs + HEALTH.staleMs)).toMatchObject({ ok: true });
    expect(judgeHealthFile(one.path, "ready", writtenMs + HEALTH.staleMs + 1)).toEqual({
      ok: false,
      text: `process ${process.pid} hangs: it last wrote ${one.path} 15 s ago`,
    });
  });

  test("is not ready while its writer is not, and alive all the same; a change need not wait for the next turn", async () => {
    let report: HealthReport = { ready: false, summary: "not connected to ws://cp: dialling", details: {} };
    await using one = await started(() => report);
    expect(judgeHealthFile(one.path, "ready", one.now())).toEqual({ ok: false, text: "not connected to ws://cp: dialling" });
    expect(judgeHealthFile(one.path, "live", one.now())).toMatchObject({ ok: true });
    one.file.touch();
    report = READY;
    one.file.touch();
    await eventually(() => judgeHealthFile(one.path, "ready", one.now()).ok);
  });

  test("of an earlier start is told from a fresh one, however young it is", async () => {
    await using one = await started();
    const gone = Bun.spawn(["true"]);
    await gone.exited;
    await rewrite(one.path, { pid: gone.pid });
    const earlier = `${one.path} is of an earlier start: process ${gone.pid} of then has ended`;
    expect(judgeHealthFile(one.path, "live", one.now())).toEqual({ ok: false, text: earlier });
    // In a container the next one is process 1 again.
    await rewrite(one.path, { pid: process.pid, started: "1" });
    expect(judgeHealthFile(one.path, "live", one.now())).toMatchObject({ ok: false, text: expect.stringContaining("of an earlier start") });
  });

  test("of a time that has not come yet says that the clock was set back", async () => {
    await using one = await started();
    await rewrite(one.path, { written_at_ms: one.now() + 3_600_000 });
    expect(judgeHealthFile(one.path, "live", one.now())).toEqual({
      ok: false,
      text: `${one.path} was written 3600 s from now: the clock was set back`,
    });
  });

  test("on a disk that takes nothing still tells that its writer turns", async () => {
    await using one = await started();
    await mkdir(`${one.path}.new`);
    await one.time.advance(10 * HEALTH.staleMs);
    await eventually(() => judgeHealthFile(one.path, "live", one.now()).ok);
    await rm(`${one.path}.new`, { recursive: true });
    await one.beat();
    expect(judgeHealthFile(one.path, "ready", one.now())).toMatchObject({ ok: true });
  });

  test.each([
    "",
    "{",
    "[]",
    '"x"',
    "null",
    '{"pid":1}',
    '{"pid":-1.5,"started":"","written_at_ms":0,"stale_after_ms":1,"ready":true,"summary":""}',
  ])("that holds %j is none", async (text) => {
    await using directory = await temporaryDirectory();
    const path = await directory.file("health.json", text);
    expect(judgeHealthFile(path, "live", 0)).toEqual({ ok: false, text: `${path} is no health file` });
  });

  test("that cannot be read says why", async () => {
    await using directory = await temporaryDirectory();
    expect(judgeHealthFile(directory.path, "live", 0).text).toContain("cannot be read");
    const file = await directory.file("file", "");
    expect(judgeHealthFile(join(file, "below"), "live", 0).text).toContain("is not there");
  });
});

describe("what an agent says of itself", () => {
  const STATE = {
    link: "registered",
    cpUrl: "wss://cp.example.com:8443/ws",
    registeredSinceMs: Date.parse("2026-01-01T00:00:00Z"),
    ledgerFailing: false,
    bootId: "boot",
    protocol: 2,
    registrations: 1,
    lastContactMs: Date.parse("2026-01-01T00:00:01Z"),
    running: 1,
    waiting: 2,
    unacknowledged: 3,
    certificateExpiresAtMs: undefined,
  } as const;

  test("is ready when it is registered and its ledger can be written", () => {
    expect(agentHealth(STATE)).toEqual({
      ready: true,
      summary: "connected to wss://cp.example.com:8443/ws since 2026-01-01T00:00:00.000Z",
      details: expect.objectContaining({
        last_contact: "2026-01-01T00:00:01.000Z",
        running: 1,
        waiting: 2,
        unacknowledged: 3,
        ledger_writable: true,
      }),
    });
    expect(agentHealth({ ...STATE, ledgerFailing: true })).toMatchObject({
      ready: false,
      summary: expect.stringContaining("ledger cannot be written"),
    });
  });

  test.each([
    ["idle", "waits to be enrolled"],
    ["connecting", "dialling"],
    ["registering", "waiting for the answer"],
    ["waiting", "waiting to dial again"],
    ["stopped", "it is stopping"],
  ] as const)("is not ready while its link is %s", (link, words) => {
    const { ready, summary } = agentHealth({ ...STATE, link, registeredSinceMs: undefined });
    expect(ready).toBe(false);
    expect(summary).toStartWith("not connected to wss://cp.example.com:8443/ws: ");
    expect(summary).toContain(words);
  });
});
