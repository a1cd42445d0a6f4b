import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LINK } from "../../src/agent/connection.ts";
import { memoryOf, percentile } from "../bench/proc.ts";
import { eventually } from "../support/eventually.ts";
import { type RunningProcess, startProcess, transporterCommand } from "../support/process.ts";
import type { StormAgents } from "./agents.ts";

export interface StormOptions {
  readonly agents: number;
  readonly compiled: boolean;
}

export interface StormResult {
  /** From when the control plane listens again to when all agents are registered again. */
  readonly backMs: number;
  /** From its death to when it listens again. */
  readonly downMs: number;
  /** How long `/livez` took, for each question asked while they came back. */
  readonly livezMs: readonly number[];
  /** What `/livez` answered other than 200, or why it did not answer. */
  readonly livezFaults: readonly string[];
  /** The most that the restarted control plane had in memory. */
  readonly peakBytes: number;
  /** How many it counts itself. */
  readonly counted: number;
}

/** In one process, which takes less from the control plane than several do on a machine with few cores. */
const AGENTS_IN_ONE = 10_000;
const ASK_EVERY_MS = 20;
/** As many files as allowed: each agent is one, and a login shell's soft limit may be 1,024. */
const RAISED = ["/bin/sh", "-c", 'ulimit -n "$(ulimit -Hn)" 2>/dev/null; exec "$@"', "sh"];

/**
 * A control plane with this many agents is killed without warning and started again on its store: all of them come back at once. Measured
 * from here, a process that is neither.
 */
export async function storm(options: StormOptions): Promise<StormResult> {
  const home = await realpath(await mkdtemp(join(tmpdir(), "transporter-storm-")));
  const swarms: RunningProcess[] = [];
  const started: RunningProcess[] = [];
  const startCp = async (port: string): Promise<string> => {
    const args = ["cp", "--ws-port", port, "--log-format", "json", "--store", `sqlite:${join(home, "cp.db")}`];
    const cp = await startProcess([...RAISED, ...transporterCommand(args, options.compiled)], { home });
    started.push(cp);
    return (await cp.line(/"message":"Control plane is listening","address":"([^"]+)"/, { timeoutMs: 60_000 }))[1] ?? "";
  };
  try {
    const address = await startCp("0");
    for (let from = 0; from < options.agents; from += AGENTS_IN_ONE) {
      const task: StormAgents = {
        wsUrl: `ws://${address}/ws`,
        agents: Math.min(AGENTS_IN_ONE, options.agents - from),
        prefix: `storm-${from}`,
      };
      swarms.push(await startProcess([...RAISED, process.execPath, join(import.meta.dir, "agents.ts"), JSON.stringify(task)]));
    }
    await allHere(swarms, 1);
    // So that all have stood, as those have that lose a control plane: a link that breaks at once is treated otherwise.
    await Bun.sleep(LINK.settled + 500);
    const killedMs = Date.now();
    await started[0]?.kill("SIGKILL");
    await startCp(address.split(":").at(-1) ?? "0");
    const listeningMs = Date.now();
    const asking = askLivez(`http://${address}/livez`);
    const backMs = (await allHere(swarms, 2)) - listeningMs;
    const { livezMs, livezFaults } = await asking.stop();
    const { agent_count: counted } = (await (await fetch(`http://${address}/health`)).json()) as { readonly agent_count: number };
    const again = started[1];
    return {
      backMs,
      downMs: listeningMs - killedMs,
      livezMs,
      livezFaults,
      peakBytes: again === undefined ? 0 : memoryOf(again.pid).peakBytes,
      counted,
    };
  } finally {
    for (const one of [...swarms, ...started]) await one[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  }
}

/** Waits until every swarm has had all of its agents there so many times; answers when that was. */
async function allHere(swarms: readonly RunningProcess[], times: number): Promise<number> {
  const moments = await Promise.all(
    swarms.map((swarm) =>
      eventually(() => [...swarm.stdout().matchAll(/^ALL \d+ AT (\d+)$/gm)][times - 1]?.[1], {
        timeoutMs: 120_000,
        everyMs: 25,
        what: "all agents",
      }).catch((error: unknown) => {
        throw new Error(`${String(error)}\n${swarm.stdout().slice(-500)}\n${swarm.stderr().slice(-500)}`);
      }),
    ),
  );
  return Math.max(...moments.map(Number));
}

/** Asks at a steady pace, whatever the answers do, so that a slow one does not hide the next. */
function askLivez(url: string): { stop(): Promise<Pick<StormResult, "livezMs" | "livezFaults">> } {
  const livezMs: number[] = [];
  const livezFaults: string[] = [];
  const open: Promise<void>[] = [];
  const ask = async (): Promise<void> => {
    const startedMs = performance.now();
    try {
      const response = await fetch(url);
      await response.text();
      if (response.status !== 200) livezFaults.push(String(response.status));
    } catch (error) {
      livezFaults.push(error instanceof Error ? error.message : String(error));
    }
    livezMs.push(performance.now() - startedMs);
  };
  const timer = setInterval(() => open.push(ask()), ASK_EVERY_MS);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(open);
      return { livezMs, livezFaults };
    },
  };
}

export function livezP99(result: StormResult): number {
  return percentile(result.livezMs, 0.99);
}
