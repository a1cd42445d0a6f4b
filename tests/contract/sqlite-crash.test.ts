import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { backupStoreFile, openStore, type Store } from "../../src/stores/mod.ts";
import { eventually } from "../support/eventually.ts";
import { type RunningProcess, startProcess } from "../support/process.ts";
import { codeOf, newEvent, TENANT, textOf } from "../support/store-inputs.ts";
import { count } from "../support/prove.ts";

const open = (path: string): Promise<Store> => openStore(`sqlite:${path}`, { ports: systemPorts, log: silentLogger });

async function directoryFor(): Promise<{ readonly path: string } & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-crash-"));
  return { path: join(directory, "store.db"), [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}

function child(path: string, ...args: string[]): Promise<RunningProcess> {
  return startProcess([process.execPath, join(import.meta.dir, "sqlite-child.ts"), `sqlite:${path}`, ...args]);
}

function acknowledged(running: RunningProcess, what: string): string[] {
  return running
    .stdout()
    .split("\n")
    .slice(0, -1)
    .filter((line) => line.startsWith(`${what} `))
    .map((line) => line.slice(what.length + 1));
}

describe("sqlite: and other processes", () => {
  test(
    "kill -9 at any moment, again and again: everything acknowledged is there, and as far as it was acknowledged",
    async () => {
      await using place = await directoryFor();
      const accepted = new Set<string>();
      const completed = new Set<string>();
      for (let round = 0; round < count(10, 30); round += 1) {
        await using running = await child(place.path, String(round));
        await running.line(/^ready$/);
        // A different moment of its work each time: in the middle of a commit, of a checkpoint, or before the first.
        const least = [1, 400, 30, 1500, 5, 90, 700, 2, 250, 60][round % 10] ?? 1;
        await eventually(() => acknowledged(running, "accepted").length >= least, { everyMs: 1, timeoutMs: 60_000 });
        await running.kill("SIGKILL");
        await running.exited;
        for (const id of acknowledged(running, "accepted")) accepted.add(id);
        for (const id of acknowledged(running, "completed")) completed.add(id);
      }
      expect(accepted.size).toBeGreaterThan(1000);
      const store = await open(place.path);
      try {
        for (const id of accepted) {
          const stored = await store.getEvent(TENANT, id, { payload: true, log: true });
          expect(stored?.event.id).toBe(id);
          expect(textOf(stored?.payload)).toContain(id);
          if (completed.has(id)) expect(stored?.summary.state).toBe("completed");
        }
        const counters = await store.counters();
        expect(counters.total).toBeGreaterThanOrEqual(accepted.size);
        expect(counters.completed).toBeGreaterThanOrEqual(completed.size);
        const open = await store.openCounts();
        expect(counters.total - counters.completed).toBe(open.queued + open.inFlight);
      } finally {
        await store.close();
      }
    },
    count(120_000, 1_200_000),
  );

  test("one owner at a time, named by its pid; kill -9 leaves no lock behind", async () => {
    await using place = await directoryFor();
    await using running = await child(place.path, "0", "hold");
    await running.line(/^ready$/);
    const refused = await open(place.path).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refused).toMatchObject({ code: "STORE_LOCKED", details: { pid: running.pid } });
    expect(String(refused)).toContain(String(running.pid));
    await running.kill("SIGKILL");
    const store = await open(place.path);
    expect(await codeOf(open(place.path))).toBe("STORE_LOCKED");
    await store.close();
    await (await open(place.path)).close();
  });

  test("a backup by another process, while events come in, opens and holds what was acknowledged before it", async () => {
    await using place = await directoryFor();
    await using running = await child(place.path, "0");
    await eventually(() => acknowledged(running, "accepted").length >= 300, { timeoutMs: 60_000 });
    const before = acknowledged(running, "accepted");
    const copy = `${place.path}.backup`;
    const { bytes } = await backupStoreFile(`sqlite:${place.path}`, copy);
    expect(bytes).toBeGreaterThan(0);
    expect((await Bun.file(copy).stat()).mode & 0o777).toBe(0o600);
    expect(await codeOf(backupStoreFile(`sqlite:${place.path}`, copy))).toBe("STORE_INVALID");
    // Whoever is being backed up goes on meanwhile.
    await eventually(() => acknowledged(running, "accepted").length > before.length, { timeoutMs: 60_000 });
    await running.kill("SIGKILL");
    const store = await open(copy);
    try {
      for (const id of before) expect((await store.getEvent(TENANT, id, { payload: false, log: true }))?.event.id).toBe(id);
      expect((await store.createEvent(newEvent())).kind).toBe("created");
    } finally {
      await store.close();
    }
  }, 120_000);

  test("the owner's own backup does not hold up the events that come meanwhile", async () => {
    await using place = await directoryFor();
    const store = await open(place.path);
    const ids = Array.from({ length: 5000 }, (_, at) => `before-${at}`);
    await Promise.all(ids.map((id) => store.createEvent(newEvent({ id, payloadText: JSON.stringify(`${id}${"x".repeat(2000)}`) }))));
    const backup = store.backup(`${place.path}.backup`);
    const ended = backup.then(() => "ended" as const);
    let meanwhile = 0;
    while ((await Promise.race([ended, store.createEvent(newEvent())])) !== "ended") meanwhile += 1;
    expect((await backup).bytes).toBeGreaterThan(1_000_000);
    expect(meanwhile).toBeGreaterThan(5);
    expect(await codeOf(store.backup(`${place.path}.backup`))).toBe("STORE_INVALID");
    expect(await codeOf(store.backup(join(place.path, "not", "a", "directory")))).toBe("STORE_UNAVAILABLE");
    await store.close();
    const copy = await open(`${place.path}.backup`);
    for (const id of ids.filter((_, at) => at % 100 === 0))
      expect(textOf((await copy.getEvent(TENANT, id, { payload: true, log: true }))?.payload)).toContain(id);
    expect((await copy.openCounts()).queued).toBeGreaterThanOrEqual(5000);
    await copy.close();
    expect(existsSync(`${place.path}.${process.pid}.partial`)).toBe(false);
  }, 60_000);
});
