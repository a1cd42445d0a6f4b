import { writeFile } from "node:fs/promises";
import { join } from "node:path";

/** What every container of a simulated node wrote before it last died, or up to now. */
const CRASH_LOG: readonly string[] = [
  "starting up",
  "connecting to db:5432 as app:correct-horse-battery",
  "panic: dial tcp 10.0.0.7:5432: connect: connection refused",
];
const RUNNING_LOG: readonly string[] = ["starting up", "waiting for the migration of the database"];

/** As a container runtime keeps them, which is how they are read. */
function runtimeLog(lines: readonly string[]): string {
  return lines.map((line, index) => `2026-01-01T00:00:0${index}.000000000Z stderr F ${line}\n`).join("");
}

/** Writes the two logs, and what tells the simulator of them; answers that file. */
export async function writeLogs(directory: string): Promise<string> {
  const logsFile = join(directory, "container.log");
  const previousLogsFile = join(directory, "container-previous.log");
  await writeFile(logsFile, runtimeLog(RUNNING_LOG));
  await writeFile(previousLogsFile, runtimeLog(CRASH_LOG));
  const path = join(directory, "logs.json");
  const spec = { logs: [{ logsFile, previousLogsFile, follow: false }] };
  await writeFile(path, JSON.stringify({ apiVersion: "kwok.x-k8s.io/v1alpha1", kind: "ClusterLogs", metadata: { name: "all" }, spec }));
  return path;
}
