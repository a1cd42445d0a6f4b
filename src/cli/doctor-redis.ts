import { type Ports, silentLogger } from "../kit/mod.ts";
import type { RedisFinding } from "../redis/mod.ts";
import { type Check, type Finding, fail, ok, warn } from "./doctor.ts";

/** In the order in which they are shown; a server has those that apply to it. */
const NAMES = ["version", "mode", "role", "appendonly", "appendfsync", "disk", "maxmemory-policy", "replicas"] as const;

/** Whether a store in Redis can be used, and what the settings of the server lose. Writes nothing where nothing is yet. */
export function redisStoreChecks(url: string, password: string | undefined, ports: Ports): Check[] {
  let looked: Promise<{ readonly store: Finding; readonly findings: readonly RedisFinding[] }> | undefined;
  const look = (): Promise<{ readonly store: Finding; readonly findings: readonly RedisFinding[] }> => {
    looked ??= lookAt(url, password, ports);
    return looked;
  };
  return [
    { name: "store", run: async () => (await look()).store },
    ...NAMES.map((name): Check => {
      const run = async (): Promise<Finding | undefined> => {
        // What keeps it from being reached was said already.
        const found = (await look().catch(() => undefined))?.findings.find((one) => one.name === name);
        return found === undefined ? undefined : findingOf(found);
      };
      return { name: `redis ${name}`, run };
    }),
  ];
}

function findingOf({ level, message, remedy = "See docs/redis.md." }: RedisFinding): Finding {
  return level === "ok" ? ok(message) : level === "warning" ? warn(message, remedy) : fail(message, remedy);
}

async function lookAt(
  url: string,
  password: string | undefined,
  ports: Ports,
): Promise<{ readonly store: Finding; readonly findings: readonly RedisFinding[] }> {
  const [{ inspectRedis, openRedis, parseRedisUrl }, { openStore }] = await Promise.all([
    import("../redis/mod.ts"),
    import("../stores/mod.ts"),
  ]);
  const secret = password === undefined ? {} : { password };
  const address = parseRedisUrl(url, secret);
  const link = await openRedis(address, { ports, log: silentLogger, purpose: "doctor" });
  try {
    const findings = await inspectRedis(link);
    // Looking needs no right to write, and leaves no trace.
    if ((await link.client.exists(`{${address.prefix}}:schema`)) === 0)
      return { store: ok(`${address.location} answers; nothing of a control plane is there yet`), findings };
    const store = await openStore(url, { ports, log: silentLogger, ...secret });
    try {
      await store.ping();
      const counters = await store.counters();
      const { location, schemaVersion } = store.info;
      return { store: ok(`${location} takes writes (schema ${schemaVersion}, ${counters.total} events so far)`), findings };
    } finally {
      await store.close();
    }
  } catch (error) {
    throw link.fault(error);
  } finally {
    await link.close();
  }
}
