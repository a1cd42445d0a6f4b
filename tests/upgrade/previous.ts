import { copyFile, mkdir, mkdtemp, realpath, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "bun:test";
import { startProcess, type RunningProcess } from "../support/process.ts";
import type { MapAgentConfig } from "../wires/map-agent.ts";

/** The version before this one, as it was: 0.2.0 before deliveries were guaranteed to the end. */
const COMMIT = "e38c462284b8646428fc787de52f54cbda416869";
const ROOT = resolve(import.meta.dir, "../..");
const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");

function git(...args: readonly string[]): Bun.SyncSubprocess<"pipe", "pipe"> {
  return Bun.spawnSync(["git", "-C", ROOT, ...args], { stdout: "pipe", stderr: "pipe" });
}

const present = git("cat-file", "-e", `${COMMIT}^{commit}`).exitCode === 0;
if (!present)
  console.warn(`\nSKIPPED: tests of the upgrade. The version before (${COMMIT.slice(0, 7)}) is not here: fetch the whole history.\n`);

/** `test` for what needs the version before; under CI a clone without history is a failure. */
export function upgradeTest(name: string, run: () => Promise<void>, timeoutMs = 90_000): void {
  test.skipIf(!present && !IN_CI)(name, run, timeoutMs);
}

/** A version of the program: this one, or the one before. */
export interface Version {
  readonly name: "new" | "old";
  controlPlane(storePath: string, port: number): Promise<RunningProcess>;
  agent(config: MapAgentConfig): Promise<RunningProcess>;
}

function version(name: Version["name"], root: string): Version {
  return {
    name,
    async controlPlane(storePath, port) {
      const args = ["cp", "--ws-port", String(port), "--log-format", "json", "--store", `sqlite:${storePath}`];
      const cp = await startProcess([process.execPath, join(root, "bin/transporter.ts"), ...args]);
      await cp.line(/Control plane is listening/);
      return cp;
    },
    agent: (config) => startProcess([process.execPath, join(root, "tests/wires/map-agent.ts"), JSON.stringify(config)]),
  };
}

export const CURRENT: Version = version("new", ROOT);

export interface Previous extends AsyncDisposable {
  readonly version: Version;
}

/** Lays the version before out in a directory of its own, with what it depends on. */
export async function previousVersion(): Promise<Previous> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), "transporter-previous-")));
  const archive = git("archive", COMMIT);
  if (archive.exitCode !== 0) throw new Error(`the version before is not here: ${archive.stderr.toString()}`);
  const unpacked = Bun.spawnSync(["tar", "-x", "-C", directory], { stdin: archive.stdout, stderr: "pipe" });
  if (unpacked.exitCode !== 0) throw new Error(unpacked.stderr.toString());
  // The agent as a process of its own, over that version's rooms.
  for (const path of ["tests/wires/map-agent.ts", "tests/fuzz/saying.ts"]) {
    await mkdir(join(directory, path, ".."), { recursive: true });
    await copyFile(join(ROOT, path), join(directory, path));
  }
  const lock = (root: string): Promise<string> => Bun.file(join(root, "bun.lock")).text();
  if ((await lock(directory)) === (await lock(ROOT))) await symlink(join(ROOT, "node_modules"), join(directory, "node_modules"));
  else {
    const installed = Bun.spawnSync([process.execPath, "install", "--frozen-lockfile"], {
      cwd: directory,
      stdout: "ignore",
      stderr: "pipe",
    });
    if (installed.exitCode !== 0) throw new Error(installed.stderr.toString());
  }
  return { version: version("old", directory), [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}
