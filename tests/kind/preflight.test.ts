import { describe, expect, test } from "bun:test";
import { chmod } from "node:fs/promises";
import { join, resolve } from "node:path";
import { temporaryDirectory } from "../support/cli.ts";
import { startProcess } from "../support/process.ts";

const ROOT = resolve(import.meta.dir, "../..");

interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The script itself, on a machine that has nothing but these programs. */
async function kind(args: readonly string[], programs: Readonly<Record<string, string>> = {}): Promise<Ended> {
  await using directory = await temporaryDirectory();
  for (const [name, text] of Object.entries(programs)) await chmod(await directory.file(name, `#!/bin/sh\n${text}\n`), 0o755);
  await using run = await startProcess([process.execPath, join(ROOT, "scripts", "kind.ts"), ...args], {
    cwd: ROOT,
    env: { PATH: directory.path },
  });
  return { exitCode: await run.exited, stdout: run.stdout(), stderr: run.stderr() };
}

const ENGINE = 'case "$*" in *MemTotal*) echo 8589934592 ;; esac';
const ALL = { docker: ENGINE, kind: "exit 0", kubectl: "exit 0", helm: "exit 0" };

describe("before anything is made", () => {
  test("everything that is missing is named at once, with what to do, and the end is 2", async () => {
    const { exitCode, stderr } = await kind(["e2e"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("This cannot start yet:");
    expect(stderr).toContain("no container engine answers (docker is not on PATH; podman is not on PATH)");
    for (const name of ["kind", "kubectl", "helm"]) expect(stderr).toContain(`${name} is not on PATH`);
    expect(stderr).toContain("go install sigs.k8s.io/kind@");
    expect(stderr).toContain("just e2e-local");
  });

  test("an engine that is there and does not answer is told with its own words", async () => {
    const docker = 'echo "Cannot connect to the Docker daemon" >&2; exit 1';
    const { exitCode, stderr } = await kind(["up"], { ...ALL, docker });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("docker is there and does not answer: Cannot connect to the Docker daemon; podman is not on PATH");
    expect(stderr).not.toContain("helm is not on PATH");
  });

  test("only the engine that was asked for counts", async () => {
    const { exitCode, stderr } = await kind(["up", "--engine", "podman"], ALL);
    expect({ exitCode, told: stderr.includes("no container engine answers (podman is not on PATH)") }).toEqual({ exitCode: 2, told: true });
  });

  test("too little memory is told before clusters are made that never become ready", async () => {
    const docker = 'case "$*" in *MemTotal*) echo 2147483648 ;; esac';
    const { exitCode, stderr } = await kind(["e2e"], { ...ALL, docker });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("docker has 2.0 GiB of memory, and 2 clusters need 4");
  });

  test("clusters of these names are not touched", async () => {
    const { exitCode, stderr } = await kind(["e2e"], { ...ALL, kind: 'case "$*" in *clusters*) echo cp-cluster ;; *) exit 9 ;; esac' });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("are there already: cp-cluster");
    expect(stderr).toContain("just kind-down");
  });

  test("a port that somebody has is named", async () => {
    using taken = Bun.listen({ hostname: "127.0.0.1", port: 30_666, socket: { data: () => undefined } });
    const { exitCode, stderr } = await kind(["all"], ALL);
    expect(exitCode).toBe(2);
    // Others may be taken as well, by clusters of whoever runs this.
    expect(stderr).toMatch(new RegExp(`these ports of 127\\.0\\.0\\.1 are taken: .*\\b${taken.port}\\b`));
  });

  test("to take down, kind and an engine are enough, and all of ours go", async () => {
    const { exitCode, stdout, stderr } = await kind(["down"], { docker: ENGINE, kind: 'echo "$@" >&2' });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toContain("No kind cluster of ours is left.");
  });

  test("a word that is not known ends with 2, and help with 0", async () => {
    expect((await kind(["fly"])).exitCode).toBe(2);
    const help = await kind(["--help"]);
    expect({ exitCode: help.exitCode, told: help.stdout.includes("--keep") }).toEqual({ exitCode: 0, told: true });
  });
});
