import { TransporterError } from "../../../kit/mod.ts";
import type { QueueOptions } from "../../open.ts";
import type { Outlet, OutletEvent, QueueInfo } from "../../port.ts";
import { Links } from "./links.ts";
import { EMIT, runScript } from "./scripts.ts";
import { type RedisQueueSettings, redisQueueSettings } from "./settings.ts";

const KINDS: readonly OutletEvent["kind"][] = ["status", "audit"];
/** What one command carries: a server does nothing else meanwhile. */
const EMIT_COUNT = 200;
const EMIT_CHARS = 4 * 1024 * 1024;

/**
 * Statuses and audit entries on two streams of a Redis, `{prefix}:published:status` and `…:audit`, each about as long as `max-published` says:
 * whoever reads them keeps up or loses the oldest. Resolves without asking the server. Throws QUEUE_INVALID.
 */
export async function openRedisOutlet(url: string, options: QueueOptions): Promise<Outlet> {
  return new RedisOutlet(redisQueueSettings(url, options.secrets?.password), options);
}

class RedisOutlet implements Outlet {
  readonly info: QueueInfo;
  readonly #settings: RedisQueueSettings;
  readonly #links: Links;
  readonly #base: string;

  constructor(settings: RedisQueueSettings, options: QueueOptions) {
    this.#settings = settings;
    this.#links = new Links(settings, options.ports, options.log);
    this.#base = `{${settings.address.prefix}}:published`;
    const { address, maxMessageBytes } = settings;
    this.info = { driver: "redis", location: address.location, name: `${this.#base}:*`, maxMessageBytes };
  }

  async emit(events: readonly OutletEvent[]): Promise<void> {
    for (let from = 0; from < events.length;) {
      let to = from;
      for (let chars = 0; to < events.length && to - from < EMIT_COUNT && chars < EMIT_CHARS; to += 1)
        chars += events[to]?.body.length ?? 0;
      await this.#emit(events.slice(from, to));
      from = to;
    }
  }

  close(): Promise<void> {
    return this.#links.close();
  }

  async #emit(events: readonly OutletEvent[]): Promise<void> {
    const { duplicatesMs, maxPublished, address } = this.#settings;
    const link = await this.#links.main();
    const keys = KINDS.map((kind) => `${this.#base}:${kind}`);
    const args = events.flatMap(({ id, kind, agentId, body }) => [KINDS.indexOf(kind) + 1, id, agentId ?? "", body]);
    let replicas: number;
    try {
      await runScript(link.client, EMIT, keys, [`${this.#base}:id:`, duplicatesMs, maxPublished, ...args]);
      replicas = address.wait === 0 ? 0 : await link.client.wait(address.wait, address.timeoutMs);
    } catch (error) {
      throw link.fault(error);
    }
    if (replicas < address.wait)
      throw new TransporterError(
        "QUEUE_UNAVAILABLE",
        `only ${replicas} of ${address.wait} replicas of ${address.location} took what was published`,
      );
  }
}
