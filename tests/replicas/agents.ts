/**
 * Many agents in one process, as `transporter agent` makes them, each with a connection, a ledger and statuses of its own: `bun agents.ts '{"journal":…}'`.
 * In place of a cluster there is the journal: each apply adds a line. Says `ALL n AT ms` when all were registered for the first time, and ends on SIGTERM.
 */
import { join } from "node:path";
import { startAgent } from "../../src/agent/mod.ts";
import { type LogFields, type Logger, systemPorts } from "../../src/kit/mod.ts";
import { type Dialer, dial } from "../../src/net/mod.ts";
import { Journal } from "./journal.ts";

export interface AgentsConfig {
  readonly journal: string;
  readonly cpUrls: readonly string[];
  readonly prefix: string;
  readonly from: number;
  readonly count: number;
  /** Where their ledgers lie; absent: in memory. */
  readonly stateDir?: string;
  /** Of a thousand events, so many are told as done and never were, or are done twice: to see that the reckoning sees it. */
  readonly plant?: { readonly what: "lost" | "doubled"; readonly perThousand: number };
}

const config = JSON.parse(process.argv[2] ?? "{}") as AgentsConfig;
const journal = new Journal(config.journal);
/** At the first start alone: how long all of them take to appear. */
const SPREAD_MS = Math.max(500, 2 * config.count);
let registered = 0;

/** Hears when an agent is registered; errors go to our own log. */
function listening(onRegistered: () => void): Logger {
  const make = (base: LogFields): Logger => ({
    debug: () => undefined,
    info: (message) => void (message === "Agent registered successfully" && onRegistered()),
    warn: () => undefined,
    error: (message, fields = {}) => console.log(JSON.stringify({ message, ...base, ...fields })),
    with: (fields) => make({ ...base, ...fields }),
  });
  return make({});
}

function planted(): "lost" | "doubled" | undefined {
  return config.plant !== undefined && Math.random() * 1_000 < config.plant.perThousand ? config.plant.what : undefined;
}

function start(at: number): Promise<{ stop(): Promise<void> }> {
  const id = `${config.prefix}-${at}`;
  let port = "";
  let first = true;
  const dialer: Dialer = (url, options) => {
    ({ port } = new URL(url));
    return dial(url, options);
  };
  const log = listening(() => {
    journal.registered({ atMs: Date.now(), agent: id, port });
    if (!first) return;
    first = false;
    registered += 1;
    if (registered === config.count) console.log(`ALL ${registered} AT ${Date.now()}`);
  });
  return startAgent({
    id,
    name: id,
    clusterName: `cluster-of-${id}`,
    clusterProvider: "kind",
    region: "local",
    namespace: "default",
    labels: { environment: "proof" },
    version: "0.2.0",
    hostname: "proof",
    cpUrls: config.cpUrls,
    proxyEnv: {},
    stateDir: config.stateDir === undefined ? undefined : join(config.stateDir, id),
    dialer,
    cluster: {
      resources: (objects) => ({
        validate: () => Promise.resolve(),
        preview: () => Promise.resolve(),
        verify: () => Promise.resolve(),
        resources: () =>
          objects.map(({ ref, object }) => ({
            kind: ref.kind,
            name: ref.name,
            api_version: object.apiVersion,
            status: "created",
            message: "",
          })),
        apply() {
          const fault = planted();
          for (const { object, ref } of objects) {
            const data = (object as { readonly data?: Readonly<Record<string, string>> }).data ?? {};
            const effect = { atMs: Date.now(), id: data["event"] ?? "", agent: id, object: ref.name, n: Number(data["n"]) };
            if (fault !== "lost") journal.effect(effect);
            if (fault === "doubled") journal.effect(effect);
          }
          return Promise.resolve();
        },
      }),
    },
    ports: systemPorts,
    log,
  });
}

const starting = Array.from({ length: config.count }, async (_, at) => {
  await Bun.sleep((at * SPREAD_MS) / config.count);
  return start(config.from + at);
});
process.on("SIGTERM", () => {
  void Promise.all(starting)
    .then((agents) => Promise.all(agents.map((agent) => agent.stop())))
    .finally(() => process.exit(0));
});
await Promise.all(starting);
