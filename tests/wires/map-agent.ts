/**
 * An agent as a process of its own, as `transporter agent` makes one, but for the cluster: that is a file to which each apply adds a line, so
 * that effects can be counted whatever dies. `bun map-agent.ts '{"id":…}'`; logs JSON lines.
 */
import { appendFileSync, existsSync } from "node:fs";
import { startAgent } from "../../src/agent/mod.ts";
import { createLogger, systemPorts } from "../../src/kit/mod.ts";
import { sayFaults, sayMemoryWhenAsked } from "../fuzz/saying.ts";
import { MapCluster } from "../support/agent.ts";

export interface MapAgentConfig {
  readonly id: string;
  /** One, or several with commas between. */
  readonly cpUrl: string;
  /** Absent: the ledger is in memory. */
  readonly stateDir?: string;
  /** Gets a line `NAME\n` for each object that was applied. */
  readonly effectsPath: string;
  readonly proxyEnv?: Readonly<Record<string, string>>;
  readonly heartbeatIntervalMs?: number;
  /** Logs errors alone. */
  readonly quiet?: boolean;
}

const config = JSON.parse(process.argv[2] ?? "{}") as MapAgentConfig;
const cluster = new MapCluster();

const log = createLogger({
  format: "json",
  debug: config.quiet !== true,
  color: false,
  now: () => systemPorts.clock.now(),
  write: (line) => void ((config.quiet !== true || line.includes('"level":"error"')) && process.stdout.write(`${line}\n`)),
});
sayFaults();
sayMemoryWhenAsked();

// The version before knows one address, and is run by this file as well.
const cpUrls = config.cpUrl.split(",");
const address = { cpUrl: cpUrls[0], cpUrls };

const agent = await startAgent({
  id: config.id,
  name: config.id,
  clusterName: `cluster-of-${config.id}`,
  clusterProvider: "kind",
  region: "local",
  namespace: "default",
  labels: {},
  version: "0.2.0",
  hostname: "test",
  ...address,
  proxyEnv: config.proxyEnv ?? {},
  stateDir: config.stateDir,
  ...(config.heartbeatIntervalMs === undefined ? {} : { heartbeatIntervalMs: config.heartbeatIntervalMs }),
  cluster: {
    resources(objects, context) {
      const steps = cluster.resources(objects, context);
      return {
        ...steps,
        async apply() {
          // While this file is there nothing gets anywhere.
          while (existsSync(`${config.effectsPath}.hold`)) {
            context.signal.throwIfAborted();
            await Bun.sleep(20);
          }
          await steps.apply();
          for (const one of objects) appendFileSync(config.effectsPath, `${one.ref.name}\n`);
        },
      };
    },
  },
  ports: systemPorts,
  log,
});
process.on("SIGTERM", () => void agent.stop());
await agent.closed;
process.exit(0);
