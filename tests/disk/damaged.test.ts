import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, copyFileSync, fstatSync, mkdirSync, openSync, readSync, rmSync, truncateSync, writeSync } from "node:fs";
import { mkdtemp, realpath } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Problem } from "../../src/protocol/mod.ts";
import { eventually } from "../support/eventually.ts";
import { runTransporter } from "../support/process.ts";
import { handIn, startOn, stateOf } from "./control-plane.ts";

const PAGE = 4096;
const WAL_HEADER = 32;
const WAL_FRAME = PAGE + 24;
const EVENTS = 120;

/** Where each of the fixtures below is made: a store that was closed, and one whose control plane was killed, so that its log is full. */
let home = "";
let closedPath = "";
let killedPath = "";

async function filled(name: string, end: "SIGTERM" | "SIGKILL", bytes = 500, events = EVENTS): Promise<string> {
  const path = join(home, name, "cp.db");
  mkdirSync(join(home, name));
  await using cp = await startOn(path);
  for (let at = 0; at < events; at += 10) {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, n) => handIn(cp.url, `kept-${at + n}`, "away", bytes)));
    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 10 }, () => 202));
  }
  await cp.process.kill(end);
  await cp.process.exited;
  return path;
}

beforeAll(async () => {
  home = await realpath(await mkdtemp(join(tmpdir(), "transporter-damage-")));
  [closedPath, killedPath] = await Promise.all([filled("closed", "SIGTERM"), filled("killed", "SIGKILL")]);
}, 60_000);
afterAll(() => rmSync(home, { recursive: true, force: true }));

function overwrite(path: string, at: number, bytes: Buffer): void {
  const file = openSync(path, "r+");
  // From the end when negative.
  writeSync(file, bytes, 0, bytes.length, at < 0 ? fstatSync(file).size + at : at);
  closeSync(file);
}

function sizeOf(path: string): number {
  const file = openSync(path, "r");
  const { size } = fstatSync(file);
  closeSync(file);
  return size;
}

const NOISE = Buffer.alloc(64, 0xa5);

let copies = 0;
/** A store of its own that is then damaged. */
function copied(from: string): string {
  copies += 1;
  const directory = join(home, `copy-${copies}`);
  mkdirSync(directory);
  const path = join(directory, "cp.db");
  for (const suffix of ["", "-wal"])
    try {
      copyFileSync(from + suffix, path + suffix);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  return path;
}

function digestOf(path: string): string {
  const file = openSync(path, "r");
  const bytes = Buffer.alloc(fstatSync(file).size);
  readSync(file, bytes);
  closeSync(file);
  return Bun.hash(bytes).toString(16);
}

async function expectRefusedStart(path: string): Promise<void> {
  const before = digestOf(path);
  const { exitCode, stderr } = await runTransporter(["cp", "--ws-port", "0", "--log-format", "json", "--store", `sqlite:${path}`], {
    timeoutMs: 20_000,
  });
  expect(stderr).toContain("STORE_CORRUPT");
  // What to do.
  expect(stderr).toMatch(/[Rr]estore a backup/);
  expect(exitCode).not.toBe(0);
  expect(stderr).not.toContain("Control plane is listening");
  expect(digestOf(path)).toBe(before);
}

describe("a damaged store is refused at the start, with what to do, and left as it was found", () => {
  test.each([
    ["its header", () => 0],
    ["a page in the middle", (size: number) => Math.floor(size / PAGE / 2) * PAGE],
    ["the last page", (size: number) => size - PAGE],
  ] as const)("%s", async (_name, place) => {
    const path = copied(closedPath);
    overwrite(path, place(sizeOf(path)), NOISE);
    await expectRefusedStart(path);
  });

  test("truncated to half", async () => {
    const path = copied(closedPath);
    truncateSync(path, Math.floor(sizeOf(path) / 2));
    await expectRefusedStart(path);
  });

  test.each([
    ["the header of its write-ahead log", () => 0],
    ["the first frame of its write-ahead log", () => WAL_HEADER + 100],
    ["a frame's own header in the middle of its write-ahead log", (frames: number) => WAL_HEADER + Math.floor(frames / 2) * WAL_FRAME],
    ["a page in the middle of its write-ahead log", (frames: number) => WAL_HEADER + Math.floor(frames / 2) * WAL_FRAME + 1000],
  ] as const)("%s", async (_name, place) => {
    const path = copied(killedPath);
    const frames = Math.floor((sizeOf(`${path}-wal`) - WAL_HEADER) / WAL_FRAME);
    expect(frames).toBeGreaterThan(20);
    overwrite(`${path}-wal`, place(frames), NOISE);
    await expectRefusedStart(path);
  });
});

describe("what is no damage is taken", () => {
  test("a log that a crash left, whole", async () => {
    await using cp = await startOn(copied(killedPath));
    for (let at = 0; at < EVENTS; at += 1) expect(await stateOf(cp.url, `kept-${at}`)).toBe("queued");
  });

  test("a log with a torn end", async () => {
    const path = copied(killedPath);
    // A transaction that had begun to be written when the power went: the head of a frame, and not all of its page.
    const wal = `${path}-wal`;
    const size = sizeOf(wal);
    overwrite(wal, WAL_HEADER + Math.floor((size - WAL_HEADER) / WAL_FRAME) * WAL_FRAME, Buffer.alloc(2000, 7));
    await using cp = await startOn(path);
    for (let at = 0; at < EVENTS; at += 1) expect(await stateOf(cp.url, `kept-${at}`)).toBe("queued");
  });
});

describe("damaged while it runs", () => {
  test("nothing more is accepted, it is not ready, and the next start refuses it", async () => {
    // More than is kept in memory, or nobody would meet the damage.
    const path = await filled("large", "SIGTERM", 60_000, 600);
    await using cp = await startOn(path);
    const pages = Math.floor(sizeOf(path) / PAGE);
    for (let page = 1; page < pages; page += 1) overwrite(path, page * PAGE, NOISE);
    // Pages that it still holds in memory may serve a few more; none of those may be lost.
    const accepted: string[] = [];
    const refused = await eventually(
      async () => {
        const answer = await handIn(cp.url, crypto.randomUUID(), "away", 2000);
        if (answer.status === 202) accepted.push(answer.id);
        // A read meets what is not in memory.
        await fetch(`${cp.url}/v1/events?limit=500&label=a%3Db`).then((response) => response.text());
        return answer.status === 202 ? undefined : answer;
      },
      { timeoutMs: 20_000, everyMs: 1, what: "a refusal" },
    );
    expect(refused.type).toBe("application/problem+json");
    expect(refused.status).toBeGreaterThanOrEqual(500);
    expect((JSON.parse(refused.text) as Problem).code).toBe("STORE_CORRUPT");
    for (let at = 0; at < 20; at += 1) expect((await handIn(cp.url, `late-${at}`, "away")).status).not.toBe(202);
    const ready = await fetch(`${cp.url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.text()).toContain("STORE_CORRUPT");
    expect((await fetch(`${cp.url}/livez`)).status).toBe(200);
    await cp.process.kill("SIGKILL");
    await expectRefusedStart(path);
  });
});
