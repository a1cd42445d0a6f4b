import { mkdir, rm, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client, Fetch } from "../client/mod.ts";
import { type Ports, RUNTIME_VARIABLES } from "../kit/mod.ts";
import { formatDurationMs } from "../protocol/mod.ts";
import type { ArchiveFile } from "./archive.ts";
import { type Check, type Finding, fail, ok, warn } from "./doctor.ts";
import { fetchWith } from "./connect.ts";
import type { Host } from "./host.ts";
import { versionView } from "./version-view.ts";

const LITTLE_SPACE_BYTES = 1024 ** 3;
const CLOCK_OFF_MS = 5000;

/** What in the environment changes the behaviour of any program of this kind. */
export function environmentCheck(env: Host["env"], insecure: boolean): Check {
  return {
    name: "environment",
    async run() {
      if (env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0")
        return (insecure ? warn : fail)(
          "NODE_TLS_REJECT_UNAUTHORIZED=0: no certificate is checked",
          "Unset it, and name the CA with --ca-file.",
        );
      for (const name of RUNTIME_VARIABLES)
        if ((env[name] ?? "") !== "") return fail(`${name} is set and makes something else of this program`, `Unset ${name}.`);
      const proxies = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].filter((name) => (env[name] ?? env[name.toLowerCase()] ?? "") !== "");
      return ok(proxies.length === 0 ? "nothing unusual" : `connections go through a proxy (${proxies.join(", ")})`);
    },
  };
}

/** Whether a directory exists, or can be made, and takes a file; and how much room it has. */
export async function directoryFinding(directory: string, ports: Pick<Ports, "ids">): Promise<Finding> {
  const probe = join(directory, `.doctor-${ports.ids.uuid()}`);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(probe, "");
  await rm(probe);
  const space = await statfs(directory);
  const free = space.bavail * space.bsize;
  const text = `${directory} can be written, ${(free / 1024 ** 3).toFixed(1)} GiB free`;
  return free < LITTLE_SPACE_BYTES ? warn(text, "Free some space: nothing is accepted on a full disk.") : ok(text);
}

export interface Reached {
  readonly status: number;
  readonly tookMs: number;
  /** The other clock minus ours; undefined when the answer has no Date. */
  readonly clockOffsetMs: number | undefined;
}

/** One request, timed, with the clock of whoever answers. */
export async function reach(url: string, caFile: string | undefined, ports: Ports, signal: AbortSignal): Promise<Reached> {
  return reachBy(await fetchWith(caFile), url, ports, signal);
}

/** The same by a `fetch` of the caller's. */
export async function reachBy(send: Fetch, url: string, ports: Ports, signal: AbortSignal): Promise<Reached> {
  const limit = new AbortController();
  const timer = ports.timers.after(10_000, () => limit.abort(new Error("no answer within 10 s")));
  try {
    const startedMs = ports.clock.monotonic();
    const response = await send(url, { method: "GET", redirect: "manual", signal: AbortSignal.any([signal, limit.signal]) });
    const tookMs = ports.clock.monotonic() - startedMs;
    await response.body?.cancel();
    const date = Date.parse(response.headers.get("date") ?? "");
    return { status: response.status, tookMs, clockOffsetMs: Number.isNaN(date) ? undefined : date - ports.clock.now() };
  } finally {
    timer.cancel();
  }
}

export function clockFinding(offsetMs: number | undefined): Finding | undefined {
  if (offsetMs === undefined) return undefined;
  // The Date header has whole seconds only.
  if (Math.abs(offsetMs) < CLOCK_OFF_MS) return ok("this clock and the control plane's agree");
  return warn(
    `the control plane's clock is ${formatDurationMs(Math.abs(offsetMs))} ${offsetMs > 0 ? "ahead of" : "behind"} this one`,
    "Set both by NTP: a TTL counts from the earlier of both times.",
  );
}

/** Whether the control plane says that it is ready, part by part. */
export async function readinessFinding(client: Client, signal: AbortSignal): Promise<Finding> {
  const { ready, text } = await client.readiness({ signal });
  // What the store's settings lose is said where the store is looked at, one by one.
  const parts = text
    .trim()
    .split("\n")
    .filter((line) => !/^\[[+!]\]store \S+: /.test(line))
    .join("; ");
  return ready ? ok(parts) : fail(parts, "See its log for the part that is not ready.");
}

function minor(version: string): string {
  return version.split(".").slice(0, 2).join(".");
}

export async function versionFinding(client: Client, signal: AbortSignal): Promise<Finding> {
  const theirs = await client.version({ signal });
  const ours = versionView();
  const said = `control plane ${theirs.version}, this program ${ours.version}`;
  return minor(theirs.version) === minor(ours.version)
    ? ok(said)
    : warn(said, "Bring both to the same version when you can; the protocol is kept compatible.");
}

/** What the control plane says of itself, for a bundle. Whatever cannot be had is left out. */
export async function controlPlaneFiles(client: Client | undefined, signal: AbortSignal): Promise<ArchiveFile[]> {
  if (client === undefined) return [];
  const files: ArchiveFile[] = [];
  for (const [name, path] of [
    ["cp-ready.txt", "/readyz?verbose"],
    ["cp-metrics.json", "/metrics"],
    ["cp-version.json", "/v1/version"],
    ["cp-agents.json", "/v1/agents?limit=500"],
  ] as const) {
    try {
      const { status, body } = await client.text(path, { signal });
      // What nobody here may ask, or this listener does not have, tells nothing.
      if (status === 200 || status === 503) files.push({ name, content: body });
    } catch {
      signal.throwIfAborted();
      return files;
    }
  }
  return files;
}
