import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { eventually } from "../support/eventually.ts";
import { type Fleet, makeFleet } from "../support/fleet.ts";
import { type RunningProcess, startProcess, transporterCommand } from "../support/process.ts";
import { atMost, type Figure } from "./figures.ts";
import type { ClosedResult } from "./load.ts";
import { cpuUs, memoryOf } from "./proc.ts";
import type { Workbench } from "./workbench.ts";

const PART = "Nobody gets in who does not belong: mTLS, a challenge, tokens";
const MIB = 2 ** 20;
/** As many files as allowed: each agent is one. */
const RAISED = ["/bin/sh", "-c", 'ulimit -n "$(ulimit -Hn)" 2>/dev/null; exec "$@"', "sh"];
/** A link that breaks sooner is treated otherwise than one that stood. */
const SETTLED_MS = 11_000;

interface SecuredCp {
  readonly process: RunningProcess;
  readonly url: string;
  readonly agentsUrl: string;
}

async function startSecured(bench: Workbench, home: string, fleet: Fleet, ports = { api: "0", agents: "0" }): Promise<SecuredCp> {
  const args = ["cp", "--security-dir", fleet.directory, "--log-format", "json"];
  for (const [name, port] of [
    ["ws", ports.api],
    ["agent", ports.agents],
    ["probe", "0"],
  ] as const)
    args.push(`--${name}-addr`, "127.0.0.1", `--${name}-port`, port);
  const process = await startProcess([...RAISED, ...transporterCommand(args, bench.compiled)], { home });
  const [, address] = await process.line(/"message":"Control plane is listening","address":"([^"]+)"/, { timeoutMs: 60_000 });
  const [, agents] = await process.line(/"message":"Agents come with their certificates","address":"([^"]+)"/);
  return { process, url: `https://${address ?? ""}`, agentsUrl: `wss://${agents ?? ""}/ws` };
}

function portOf(url: string): string {
  return new URL(url).port;
}

/** When all of them were there for the n-th time, in milliseconds since the epoch. */
async function allAt(swarm: RunningProcess, times: number): Promise<number> {
  const at = await eventually(() => [...swarm.stdout().matchAll(/^ALL \d+ AT (\d+)$/gm)][times - 1]?.[1], {
    timeoutMs: 180_000,
    everyMs: 25,
    what: "all agents",
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${swarm.stdout().slice(-500)}\n${swarm.stderr().slice(-500)}`);
  });
  return Number(at);
}

async function manyAgents(bench: Workbench): Promise<Figure[]> {
  const count = bench.count(5_000, 200);
  const home = join(bench.directory, "fleet");
  await mkdir(home, { recursive: true });
  const fleet = await makeFleet(join(home, "security"), count);
  bench.say(`  ${count} certificates are made`);
  let cp = await startSecured(bench, home, fleet);
  let swarm: RunningProcess | undefined;
  try {
    await Bun.sleep(bench.count(3_000, 500));
    const before = memoryOf(cp.process.pid).rssBytes;
    const task = { wsUrl: cp.agentsUrl, path: fleet.path, spreadMs: 100 };
    swarm = await startProcess([...RAISED, process.execPath, join(import.meta.dir, "secure-agents.ts"), JSON.stringify(task)]);
    const [, begun] = await swarm.line(/^BEGIN AT (\d+)$/, { timeoutMs: 60_000 });
    const cpuBeforeUs = cpuUs(cp.process.pid);
    const firstSeconds = ((await allAt(swarm, 1)) - Number(begun)) / 1000;
    bench.say(`  all ${count} are in after ${firstSeconds.toFixed(1)} s`);
    const handshakeUs = (cpuUs(cp.process.pid) - cpuBeforeUs) / count;
    await Bun.sleep(bench.count(20_000, SETTLED_MS));
    const kib = (memoryOf(cp.process.pid).rssBytes - before) / count / 1024;
    const killedMs = Date.now();
    await cp.process[Symbol.asyncDispose]();
    cp = await startSecured(bench, home, fleet, { api: portOf(cp.url), agents: portOf(cp.agentsUrl) });
    const listeningMs = Date.now();
    const backSeconds = ((await allAt(swarm, 2)) - listeningMs) / 1000;
    const agents = count.toLocaleString("en");
    return [
      {
        part: PART,
        name: `${agents} agents are in, mTLS and challenge`,
        value: count / firstSeconds,
        unit: "/s",
        note: `${firstSeconds.toFixed(1)} s from the first dial, all at once, at the rate they are let in; each new to this control plane`,
      },
      {
        part: PART,
        name: "CPU of the control plane for one of them",
        value: handshakeUs,
        unit: "µs",
        note: "handshake, proof, registration",
      },
      {
        part: PART,
        name: "CPU alone would do",
        value: 1e6 / handshakeUs,
        unit: "/s",
        note: "on one core, if nobody were told to come again later",
      },
      {
        part: PART,
        name: `memory for each of ${agents} agents`,
        value: kib,
        unit: "KiB",
        note: `RSS ${(before / MIB).toFixed(0)} MiB without them`,
      },
      {
        part: PART,
        name: `${agents} agents are back after a kill -9`,
        value: backSeconds,
        unit: "s",
        bar: atMost(backSeconds, 30, "s"),
        note: `after it listens again, ${listeningMs - killedMs} ms after its death`,
      },
      { part: PART, name: "memory of the control plane meanwhile, most", value: memoryOf(cp.process.pid).peakBytes / MIB, unit: "MiB" },
    ];
  } finally {
    await swarm?.[Symbol.asyncDispose]();
    await cp.process[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  }
}

async function cpuPerEvent(bench: Workbench): Promise<Figure[]> {
  const [events, warmUp, agents] = [bench.count(15_000, 1_000), bench.count(5_000, 500), 50];
  const task = { mode: "closed", agents, unfinished: 600, wire: "protocol-2", phaseMs: 2, events, warmUp } as const;
  const plain: ClosedResult[] = [];
  const secured: ClosedResult[] = [];
  for (let round = 0; round < bench.count(2, 1); round += 1) {
    const cp = await bench.startControlPlane();
    plain.push(await bench.load(cp, task));
    await cp.stop();
    const home = join(bench.directory, `secured-${round}`);
    await mkdir(home, { recursive: true });
    const fleet = await makeFleet(join(home, "security"), agents);
    const other = await startSecured(bench, home, fleet);
    const secure = { agentsUrl: other.agentsUrl, token: fleet.adminToken, path: fleet.path };
    secured.push(await bench.load({ url: other.url, pid: other.process.pid }, { ...task, secure }));
    await other.process[Symbol.asyncDispose]();
  }
  const mean = (of: readonly ClosedResult[]): number => of.reduce((sum, { serverCpuUs }) => sum + serverCpuUs, 0) / of.length;
  const [securedUs, plainUs] = [mean(secured), mean(plain)];
  return [
    {
      part: PART,
      name: "CPU per event, secured",
      value: securedUs,
      unit: "µs",
      note: "TLS, a token with each POST, agents with certificates",
    },
    { part: PART, name: "CPU per event, not secured", value: plainUs, unit: "µs", note: "in the same run" },
    { part: PART, name: "secured to not secured", value: securedUs / plainUs, unit: "times" },
  ];
}

/** What it costs to ask everybody who they are. */
export async function security(bench: Workbench): Promise<Figure[]> {
  return [...(await manyAgents(bench)), ...(await cpuPerEvent(bench))];
}
