import { hasFeature, type Registration } from "../protocol/mod.ts";
import type { Store } from "../stores/mod.ts";

const PAGE = 500;

/** What agents could do when they registered last, connected or not: as little as must be known without asking the store. */
export class KnownAgents {
  readonly #recallable = new Set<string>();

  /** Reads the agents that registered with an earlier run of the control plane. */
  async load(store: Pick<Store, "listAgents">, tenant: string): Promise<void> {
    let cursor: string | undefined;
    do {
      const page = await store.listAgents({ tenant, limit: PAGE, ...(cursor === undefined ? {} : { cursor }) });
      for (const { id, registration } of page.items) this.note(id, registration);
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  note(agentId: string, registration: Pick<Registration, "protocol" | "features">): void {
    if (hasFeature(registration, "cancel")) this.#recallable.add(agentId);
    else this.#recallable.delete(agentId);
  }

  /** Whether it gives back what it was handed. */
  canRecall(agentId: string): boolean {
    return this.#recallable.has(agentId);
  }
}
