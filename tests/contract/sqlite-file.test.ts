import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { chmodSync, closeSync, mkdirSync, openSync, readdirSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { GroupCommit } from "../../src/sqlite/mod.ts";
import { openStore, type Store } from "../../src/stores/mod.ts";
import { diskTest, SmallDisk } from "../disk/small-disk.ts";
import { codeOf, newEvent, TENANT } from "../support/store-inputs.ts";

const PAGE = 4096;
const open = (path: string): Promise<Store> => openStore(`sqlite:${path}`, { ports: systemPorts, log: silentLogger });

interface Place extends AsyncDisposable {
  readonly directory: string;
  readonly path: string;
}

async function place(): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-file-"));
  return { directory, path: join(directory, "store.db"), [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}

async function fill(path: string, events: number): Promise<void> {
  const store = await open(path);
  await Promise.all(Array.from({ length: events }, (_, at) => store.createEvent(newEvent({ id: `kept-${at}` }))));
  await store.close();
}

/** Overwrites the head of every n-th page, past the first, which a database cannot survive. */
function damage(path: string, every: number): void {
  const pages = Math.floor(statSync(path).size / PAGE);
  const file = openSync(path, "r+");
  for (let page = 2; page < pages; page += every) writeSync(file, Buffer.alloc(16, 0xa5), 0, 16, page * PAGE);
  closeSync(file);
}

describe("sqlite: the file", () => {
  test("its directory is made private, its files are the owner's alone, and a clean close leaves no WAL", async () => {
    await using where = await place();
    const path = join(where.directory, "state", "deep", "store.db");
    const store = await open(path);
    await store.createEvent(newEvent());
    expect(statSync(join(where.directory, "state", "deep")).mode & 0o777).toBe(0o700);
    const names = readdirSync(join(where.directory, "state", "deep"));
    expect(names).toContain("store.db-wal");
    for (const name of names)
      expect(`${name} ${(statSync(join(where.directory, "state", "deep", name)).mode & 0o777).toString(8)}`).toBe(`${name} 600`);
    await store.close();
    expect(readdirSync(join(where.directory, "state", "deep")).toSorted()).toEqual(["store.db", "store.db-lock"]);
  });

  test("a file that others could read is made private, a directory that was there is left as it is", async () => {
    await using where = await place();
    await fill(where.path, 1);
    chmodSync(where.path, 0o644);
    chmodSync(where.directory, 0o755);
    await (await open(where.path)).close();
    expect(statSync(where.path).mode & 0o777).toBe(0o600);
    expect(statSync(where.directory).mode & 0o777).toBe(0o755);
  });

  test("where nothing can be written it says so and names the place", async () => {
    await using where = await place();
    writeFileSync(join(where.directory, "file"), "");
    mkdirSync(join(where.directory, "directory"), { mode: 0o755 });
    for (const path of [join(where.directory, "file", "store.db"), join(where.directory, "directory"), "/proc/nowhere/store.db"]) {
      const error = await open(path).then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({ code: "STORE_UNAVAILABLE" });
      expect(String(error)).toContain(path);
    }
    expect(statSync(join(where.directory, "directory")).mode & 0o777).toBe(0o755);
  });

  test("bytes flipped while it was closed: refused at the start, and not changed", async () => {
    await using where = await place();
    await fill(where.path, 3000);
    damage(where.path, 7);
    const before = Bun.hash(await Bun.file(where.path).bytes());
    expect(await codeOf(open(where.path))).toBe("STORE_CORRUPT");
    expect(await codeOf(open(where.path))).toBe("STORE_CORRUPT");
    expect(Bun.hash(await Bun.file(where.path).bytes())).toBe(before);
  });

  test("one flipped head of one page is found", async () => {
    await using where = await place();
    await fill(where.path, 2000);
    damage(where.path, 1_000_000);
    expect(await codeOf(open(where.path))).toBe("STORE_CORRUPT");
  });

  test("a truncated file is refused", async () => {
    await using where = await place();
    await fill(where.path, 2000);
    const bytes = await Bun.file(where.path).bytes();
    writeFileSync(where.path, bytes.subarray(0, Math.floor(bytes.length / 2)));
    expect(await codeOf(open(where.path))).toBe("STORE_CORRUPT");
  });

  test("what is no database at all is refused, and not changed", async () => {
    await using where = await place();
    const text = "name: transporter\n".repeat(1000);
    writeFileSync(where.path, text);
    expect(await codeOf(open(where.path))).toBe("STORE_CORRUPT");
    expect(await Bun.file(where.path).text()).toBe(text);
  });

  test("somebody else's database is refused, and not changed", async () => {
    await using where = await place();
    const other = new Database(where.path, { create: true });
    other.run("CREATE TABLE bookmarks (url TEXT)");
    other.close();
    const before = Bun.hash(await Bun.file(where.path).bytes());
    expect(await codeOf(open(where.path))).toBe("STORE_INVALID");
    expect(Bun.hash(await Bun.file(where.path).bytes())).toBe(before);
  });

  test("a newer schema is refused and told apart", async () => {
    await using where = await place();
    await fill(where.path, 1);
    const newer = new Database(where.path);
    newer.run("PRAGMA user_version = 999");
    newer.close();
    const error = await open(where.path).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: "STORE_TOO_NEW", details: { found: 999 } });
    newer.close();
  });

  test("a file found damaged while it runs is not served any more", async () => {
    await using where = await place();
    await fill(where.path, 3000);
    damage(where.path, 1);
    const db = new Database(where.path);
    const group = new GroupCommit({ db, clock: systemPorts.clock, timers: systemPorts.timers, what: "store" });
    const good = group.run(() => 1);
    const bad = group.run(() => db.query("SELECT count(*) FROM event e JOIN delivery d ON d.event_no = e.no WHERE e.labels IS NULL").get());
    const after = group.run(() => 2);
    expect(await good).toBe(1);
    expect(await codeOf(bad)).toBe("STORE_CORRUPT");
    expect(await codeOf(after)).toBe("STORE_CORRUPT");
    expect(await codeOf(group.run(() => 3))).toBe("STORE_CORRUPT");
    await group.close();
    db.close();
  });
});

const TMPFS_BYTES = 4 * 1024 * 1024;

describe("sqlite: a full disk", () => {
  diskTest(
    "nothing is acknowledged that is not there, reads go on, and writes come back by themselves",
    async () => {
      await using disk = await SmallDisk.mount(TMPFS_BYTES);
      const path = join(disk.path, "store.db");
      const filler = join(disk.path, "filler");
      let store = await open(path);
      writeFileSync(filler, Buffer.alloc(TMPFS_BYTES / 4));
      const acknowledged: string[] = [];
      const codes = new Set<string>();
      for (let round = 0; !codes.has("STORE_FULL") && round < 2000; round += 1) {
        const inputs = Array.from({ length: 20 }, (_, at) =>
          newEvent({ id: `round-${round}-${at}`, payloadText: JSON.stringify("x".repeat(900)) }),
        );
        for (const [at, code] of (await Promise.all(inputs.map((input) => codeOf(store.createEvent(input))))).entries()) {
          codes.add(code);
          if (code === "none") acknowledged.push(inputs[at]?.event.id ?? "");
        }
      }
      expect([...codes].toSorted()).toEqual(["STORE_FULL", "none"]);
      expect(acknowledged.length).toBeGreaterThan(100);
      expect(await codeOf(store.createEvent(newEvent({ id: "too large", payloadText: JSON.stringify("x".repeat(TMPFS_BYTES)) })))).toBe(
        "STORE_FULL",
      );
      const read = await store.getEvent(TENANT, acknowledged[0] ?? "", { payload: true, log: true });
      expect(read?.event.id).toBe(acknowledged[0]);
      expect((await store.counters()).total).toBe(acknowledged.length);
      rmSync(filler);
      expect(await codeOf(store.ping())).toBe("none");
      expect(await codeOf(store.createEvent(newEvent({ id: "after" })))).toBe("none");
      acknowledged.push("after");
      await store.close();
      store = await open(path);
      for (const id of acknowledged) expect((await store.getEvent(TENANT, id, { payload: true, log: true }))?.event.id).toBe(id);
      expect((await store.counters()).total).toBe(acknowledged.length);
      expect((await store.openCounts()).queued).toBe(acknowledged.length);
      expect(await store.getEvent(TENANT, "too large", { payload: false, log: false })).toBeUndefined();
      await store.close();
    },
    60_000,
  );
});
