import { mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Controllers that a kubelet demands of version 1. */
const CONTROLLERS = ["cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"];

/** Where each controller of version 1 is mounted, or the one hierarchy of version 2. */
async function hierarchies(): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const line of (await readFile("/proc/self/mounts", "utf8")).split("\n")) {
    const [, path = "", type, options = ""] = line.split(" ");
    if (type === "cgroup2" && path === "/sys/fs/cgroup") return new Map([["unified", path]]);
    // Beside version 1 it limits nothing, and yet gets groups.
    if (type === "cgroup2") found.set("beside", path);
    if (type !== "cgroup") continue;
    for (const option of options.split(",")) {
      const controller = option.replace(/^name=/, "");
      if (CONTROLLERS.includes(controller)) found.set(controller, path);
    }
  }
  return found;
}

/** Why no cgroups for pods can be made here. */
export async function cgroupProblem(): Promise<string | undefined> {
  const found = await hierarchies().catch(() => new Map<string, string>());
  if (found.has("unified")) return undefined;
  const missing = CONTROLLERS.filter((controller) => !found.has(controller));
  return missing.length === 0 ? undefined : `needs control groups, and these are not mounted: ${missing.join(", ")}`;
}

/** Makes a group of this name in every hierarchy, in which a kubelet then makes its own; gives the paths. */
export async function makeCgroups(name: string): Promise<string[]> {
  const paths = new Map<string, string>();
  for (const [controller, mount] of await hierarchies()) {
    const path = join(mount, name);
    if (paths.has(path)) continue;
    paths.set(path, controller);
    if (controller === "unified")
      // A controller that the machine lacks is none that a kubelet demands.
      for (const one of ["cpuset", "cpu", "io", "memory", "pids", "hugetlb"])
        await writeFile(join(mount, "cgroup.subtree_control"), `+${one}`).catch(() => undefined);
    await mkdir(path, { recursive: true });
    // An empty set of processors takes no process in.
    if (controller === "cpuset")
      for (const file of ["cpuset.cpus", "cpuset.mems"]) await writeFile(join(path, file), await readFile(join(mount, file), "utf8"));
  }
  return [...paths.keys()];
}

/** From the bottom up, as often as it takes: the processes that are in them may still be dying. */
export async function removeCgroups(paths: readonly string[]): Promise<void> {
  const deadlineMs = performance.now() + 10_000;
  for (const path of paths)
    for (;;) {
      const error: unknown = await removeTree(path).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) break;
      if (performance.now() > deadlineMs) throw new Error(`the control group ${path} could not be removed`, { cause: error });
      await Bun.sleep(50);
    }
}

async function removeTree(path: string): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => undefined);
  if (entries === undefined) return;
  for (const entry of entries) if (entry.isDirectory()) await removeTree(join(path, entry.name));
  await rmdir(path);
}
