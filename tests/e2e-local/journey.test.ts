import { describe, expect } from "bun:test";
import { join, resolve } from "node:path";
import { JOURNEY } from "../../scripts/journey/steps.ts";
import { podTest } from "../support/pods.ts";
import { startProcess } from "../support/process.ts";

const ROOT = resolve(import.meta.dir, "../..");
const TIMEOUT_MS = 600_000;

interface Walked {
  readonly exitCode: number;
  readonly lines: readonly string[];
  readonly said: string;
}

let walked: Promise<Walked> | undefined;

/** One bring-up serves all: the clusters are up once, and each test looks at what became of its step. */
function theJourney(): Promise<Walked> {
  walked ??= walkOnce();
  return walked;
}

async function walkOnce(): Promise<Walked> {
  // The programs' cache is found by the home directory; of the user's configuration the journey reads nothing.
  const home = process.env["HOME"] ?? "/";
  await using run = await startProcess([process.execPath, join(ROOT, "scripts", "e2e-local.ts"), "--built"], { home, cwd: ROOT });
  const exitCode = await run.exited;
  const said = `${run.stdout()}\n${run.stderr()}`;
  console.log(said);
  return { exitCode, lines: run.stdout().split("\n"), said };
}

describe("on two clusters with real pods", () => {
  for (const { name } of JOURNEY)
    podTest(
      name,
      async () => {
        const { lines, said } = await theJourney();
        const line = lines.find((one) => one.includes(`  ${name}`)) ?? `nothing was said of it:\n${said}`;
        expect(line).toMatch(/^ok /);
      },
      TIMEOUT_MS,
    );

  podTest(
    "everything went well, and everything ended",
    async () => {
      const { exitCode, said } = await theJourney();
      expect({ exitCode, good: said.includes("Everything went well") }).toEqual({ exitCode: 0, good: true });
    },
    TIMEOUT_MS,
  );
});
