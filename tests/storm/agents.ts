/**
 * Many agents in one process: `bun agents.ts '{"wsUrl":…,"agents":…,"prefix":…}'`. Each has the agent's own connection, so that they come
 * back as real ones do, with its pauses and its jitter, and nothing behind it. Says `ALL n AT ms` whenever all of them are registered.
 */
import { Connection } from "../../src/agent/connection.ts";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { dial } from "../../src/net/mod.ts";
import { REGISTRATION_0_1 } from "../support/wire-agent.ts";

export interface StormAgents {
  readonly wsUrl: string;
  readonly agents: number;
  readonly prefix: string;
}

const { wsUrl, agents, prefix } = JSON.parse(process.argv[2] ?? "{}") as StormAgents;
/** At the first start alone: how long all of them take to appear. */
const SPREAD_MS = Math.max(500, agents);
let here = 0;
let lost = 0;

const connections = Array.from({ length: agents }, (_, at) => {
  const id = `${prefix}-${at}`;
  const bootId = crypto.randomUUID();
  return new Connection({
    urls: [wsUrl],
    admit: () => Promise.resolve(true),
    dialer: dial,
    dialOptions: () => ({}),
    register: () =>
      JSON.stringify({
        ...REGISTRATION_0_1,
        id,
        name: id,
        cluster_name: `cluster-of-${id}`,
        version: "0.2.0",
        labels: { environment: "storm" },
        protocol: 2,
        features: ["ack", "credit", "cancel", "chunk", "resync"],
        boot_id: bootId,
        credit: { deliveries: 16, bytes: 8 * 1024 * 1024 },
        sent_at: new Date().toISOString(),
      }),
    heartbeatIntervalMs: 10_000,
    heartbeat: () => ({}),
    ports: systemPorts,
    log: silentLogger,
    onRegistered: () => {
      here += 1;
      if (here === agents) console.log(`ALL ${here} AT ${Date.now()}`);
    },
    onFrame: () => undefined,
    onLost: () => {
      here -= 1;
      lost += 1;
      if (lost % agents === 0) console.log(`LOST ${lost}`);
    },
  });
});
for (const [at, connection] of connections.entries()) setTimeout(() => connection.start(), (at * SPREAD_MS) / agents);
setInterval(() => console.log(`HERE ${here}`), 1_000);
