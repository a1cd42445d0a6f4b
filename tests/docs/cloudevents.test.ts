import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startCp } from "../support/cp.ts";
import { followPage } from "./steps.ts";

test("docs/cloudevents.md has examples that do and print what it says", async () => {
  await using cp = await startCp();
  const home = await mkdtemp(join(tmpdir(), "transporter-cloudevents-"));
  try {
    const env = { PATH: process.env["PATH"] ?? "/usr/bin:/bin", CP: cp.url };
    expect(await followPage("docs/cloudevents.md", { home, cwd: home, env })).toBe(3);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}, 60_000);
