import { expect } from "bun:test";
import { mkdtemp, readdir, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { diffPlan, type KubeClient, planObjects } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import type { Namespace } from "../support/kube.ts";
import { patched } from "../support/patched.ts";
import { APPLY, parsed } from "./walk.ts";

/** A rollout takes some seconds, and much longer on a busy machine. */
const MAX_LOOKS = 20;

export interface Told {
  readonly would: string;
  readonly text: string;
}

/** What ours says of each object, and `CODE message` of those that are refused. */
export async function diff(
  client: KubeClient,
  space: Namespace,
  objects: readonly KubeObject[],
  options: Partial<Parameters<typeof diffPlan>[2]> = {},
): Promise<Told[]> {
  const plan = await planObjects(client, parsed(...objects), { defaultNamespace: space.name });
  const { seen, faults } = await diffPlan(client, plan, { ...APPLY, ...options });
  return plan.objects.map((planned) => {
    const fault = faults.find((one) => one.planned === planned);
    return seen.get(planned) ?? { would: "refused", text: `${fault?.error.code} ${fault?.error.message}` };
  });
}

interface Kubectl {
  readonly code: number;
  /** As it prints it, without what is only about its temporary files. */
  readonly text: string;
  /** The files that it has compared, by name. */
  readonly files: (side: "LIVE" | "MERGED") => Promise<ReadonlyMap<string, string>>;
}

async function kubectlDiff(space: Namespace, objects: readonly KubeObject[], home: string): Promise<Kubectl> {
  const directory = await mkdtemp(join(home, "kubectl-"));
  const run = async (env: Record<string, string>): Promise<{ readonly code: number; readonly text: string }> => {
    const args = ["--namespace", space.name, "diff", "--server-side", "--field-manager=transporter", "--filename=-"];
    const child = Bun.spawn([space.kube.kubectlPath, "--kubeconfig", space.kube.kubeconfigPath, ...args], {
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: directory, TZ: "UTC", ...env },
      stdin: new Blob([JSON.stringify({ apiVersion: "v1", kind: "List", items: objects })]),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [text, said, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (code > 1) throw new Error(said);
    return { code, text };
  };
  const keep = join(directory, "keep");
  await writeFile(keep, `#!/bin/sh\ncp -r "$1" "${directory}/LIVE" && cp -r "$2" "${directory}/MERGED"\n`, { mode: 0o755 });
  await run({ KUBECTL_EXTERNAL_DIFF: keep });
  const { code, text } = await run({});
  return {
    code,
    text: text
      // It takes a Secret that is not there for one that is null.
      .replaceAll(/^@@ -1 (\+1,\d+ @@)\n-null$/gm, "@@ -0,0 $1")
      .replaceAll(/^diff -u -N .*\n/gm, "")
      .replaceAll(/^(---|\+\+\+) \S*\/(LIVE|MERGED)-\d+\/(\S+)\t.*$/gm, "$1 $2/$3"),
    async files(side) {
      const names = await readdir(join(directory, side));
      const read = names.map(async (name) => [name, (await Bun.file(join(directory, side, name)).text()).replace(/^null\n$/, "")] as const);
      return new Map(await Promise.all(read));
    },
  };
}

/** Without what is made up anew by each dry run of a new object. */
function settled(text: string, sign = "[+-]"): string {
  return text
    .replaceAll(new RegExp(`^(${sign} {2}(?:uid|creationTimestamp)): .*$`, "gm"), "$1: …")
    .replaceAll(/^([+ ]*(?:clusterIP: |- )10\.).*$/gm, "$1…");
}

/** Both at the same state: controllers may write between two looks, and then both look again. */
async function lookTogether(
  client: KubeClient,
  space: Namespace,
  objects: readonly KubeObject[],
  directory: string,
): Promise<{ readonly theirs: Kubectl; readonly ours: readonly Told[] }> {
  for (let look = 1; ; look += 1) {
    const theirs = await kubectlDiff(space, objects, directory);
    const ours = await diff(client, space, objects);
    const again = await kubectlDiff(space, objects, directory);
    if (look >= MAX_LOOKS || Bun.deepEquals(await theirs.files("LIVE"), await again.files("LIVE"))) return { theirs, ours };
  }
}

/** Both say the same, text for text, and what ours says makes of each object as kubectl has seen it what it would become; answers it. */
export async function agree(client: KubeClient, space: Namespace, objects: readonly KubeObject[]): Promise<string> {
  const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-test-"));
  try {
    const { theirs, ours } = await lookTogether(client, space, objects, directory);
    // kubectl compares two directories, so it goes by the names of files.
    const texts = new Map(ours.flatMap(({ text }) => (text === "" ? [] : [[/^--- LIVE\/(.*)$/m.exec(text)?.[1] ?? "", text] as const])));
    const sorted = [...texts].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
    expect(settled(sorted.join(""))).toBe(settled(theirs.text));
    expect(theirs.code).toBe(sorted.length === 0 ? 0 : 1);
    const [live, merged] = [await theirs.files("LIVE"), await theirs.files("MERGED")];
    expect(merged.size).toBe(objects.length);
    for (const [name, wanted] of merged) {
      const hunks = (texts.get(name) ?? "").split("\n").slice(2).join("\n");
      expect(settled(patched(live.get(name) ?? "", hunks), "")).toBe(settled(wanted, ""));
    }
    return sorted.join("");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
