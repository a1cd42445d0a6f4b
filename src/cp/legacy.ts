import { type Ports, TransporterError } from "../kit/mod.ts";
import { legacyPrincipal, type Principal, type Security } from "../security/mod.ts";
import type { Registry } from "./registry.ts";

/** Who has enrolled is looked up again after this. */
const FRESH_MS = 5_000;

export interface LegacyOptions {
  /** The agents that are let in, and may be sent events, though nobody knows who they are. */
  readonly agentIds: readonly string[];
  readonly identities: Pick<Security["identities"], "get">;
  readonly registry: Registry;
  readonly ports: Pick<Ports, "clock">;
}

/** The agents and producers of 0.1, which have no identity: for whom their listener is open, and how much it is used. */
export class Legacy {
  readonly #options: LegacyOptions;
  readonly #named: ReadonlySet<string>;
  #known: { readonly principal: Promise<Principal>; readonly atMs: number } | undefined;
  #events = 0;

  /** Throws CONFIG_INVALID where an id could be a pattern: each of them is named. */
  constructor(options: LegacyOptions) {
    this.#options = options;
    this.#named = new Set(options.agentIds);
    const pattern = options.agentIds.find((id) => id.includes("*"));
    if (pattern !== undefined || this.#named.size === 0)
      throw new TransporterError(
        "CONFIG_INVALID",
        `--legacy-agents has to name each agent${pattern === undefined ? "" : `, not ${pattern}`}`,
        {
          remedy: "Name the agents of 0.1 one by one; they are let in without showing who they are.",
        },
      );
  }

  /** Named, and not enrolled: whoever has an identity has to show it. Throws what the store throws. */
  async why(agentId: string): Promise<string | undefined> {
    if (!this.#named.has(agentId)) return "it is not among those that may come without an identity";
    return (await this.#options.identities.get(agentId)) === undefined ? undefined : "it has an identity, and has to show it";
  }

  /** Whoever sends events by that listener. Rejects with what the store throws. */
  principal(): Promise<Principal> {
    const nowMs = this.#options.ports.clock.monotonic();
    if (this.#known === undefined || nowMs - this.#known.atMs >= FRESH_MS) {
      const known = { principal: this.#look(), atMs: nowMs };
      this.#known = known;
      known.principal.catch(() => {
        if (this.#known === known) this.#known = undefined;
      });
    }
    return this.#known.principal;
  }

  /** An event came in by that listener. */
  accepted(): void {
    this.#events += 1;
  }

  get figures(): { readonly agents: number; readonly connections: number; readonly events: number } {
    let connections = 0;
    for (const { entrant } of this.#options.registry.values()) if (entrant.principal.via === "legacy") connections += 1;
    return { agents: this.#named.size, connections, events: this.#events };
  }

  async #look(): Promise<Principal> {
    const open: string[] = [];
    for (const id of this.#named) if ((await this.#options.identities.get(id)) === undefined) open.push(id);
    return legacyPrincipal(open);
  }
}
