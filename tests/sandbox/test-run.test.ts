import { describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isGood, lanesOf, lastLine, runBunTest, type Outcome } from "../../scripts/test-run.ts";

async function outcomeOf(files: Readonly<Record<string, string>>): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-test-"));
  try {
    for (const [name, text] of Object.entries(files))
      await writeFile(join(directory, name), `import { expect, test } from "bun:test";\n${text}`);
    return await runBunTest([], { cwd: directory, quiet: true });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

describe("the last line of a test run", () => {
  test("counts what passed, failed and was skipped", async () => {
    const outcome = await outcomeOf({
      "a.test.ts": `test('<testcase name="forged"/>', () => {}); test.skip("s", () => {}); test("bad", () => expect(1).toBe(2));`,
      "b.test.ts": `test("good", () => {}); test("late", () => new Promise(() => {}), 50);`,
    });
    expect(lastLine(outcome)).toBe("2 passed, 2 failed, 1 skipped");
    expect(isGood(outcome)).toBe(false);
  });

  test("leaves out what is none", async () => {
    const outcome = await outcomeOf({ "a.test.ts": `test("good", () => {});` });
    expect(lastLine(outcome)).toBe("1 passed, 0 failed");
    expect(isGood(outcome)).toBe(true);
  });

  test("counts a file that does not load, although the report lacks it", async () => {
    const outcome = await outcomeOf({
      "a.test.ts": `test("good", () => {});`,
      "b.test.ts": `import "./absent.ts"; test("never", () => {});`,
    });
    expect(lastLine(outcome)).toBe("1 passed, 1 failed");
    expect(isGood(outcome)).toBe(false);
  });

  test("counts a runner that dies", async () => {
    const outcome = await outcomeOf({ "a.test.ts": `test("good", () => {}); test("dies", () => process.kill(process.pid, "SIGKILL"));` });
    expect(isGood(outcome)).toBe(false);
  });

  test("a run without any test is not good", async () => {
    expect(isGood(await outcomeOf({}))).toBe(false);
    expect(isGood(await outcomeOf({ "a.test.ts": `test.skip("s", () => {});` }))).toBe(false);
  });
});

test("every file of tests runs in one lane, and each lane has some", () => {
  const files = [...new Bun.Glob("{src,tests}/**/*.test.ts").scanSync({ cwd: join(import.meta.dir, "../..") })];
  const lanes = lanesOf(files);
  expect(lanes.flat().toSorted()).toStrictEqual(files.map((file) => `./${file}`).toSorted());
  for (const lane of lanes) expect(lane.length).toBeGreaterThan(0);
});

test("the output of a lane that is not seen as it goes is kept, both streams of it", async () => {
  const directory = await mkdtemp(join(tmpdir(), "transporter-test-"));
  try {
    await writeFile(join(directory, "a.test.ts"), `import { test } from "bun:test"; test("told apart", () => console.log("a word"));`);
    const log = join(directory, "lane.log");
    expect(await runBunTest([], { cwd: directory, log })).toMatchObject({ passed: 1, failed: 0, errors: 0 });
    const text = Bun.stripANSI(await readFile(log, "utf8"));
    expect(text).toContain("a word");
    expect(text).toContain("told apart");
    expect(text).toContain(" 1 pass");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
