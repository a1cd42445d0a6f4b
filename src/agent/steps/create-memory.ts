import type { KubeClient, Plan, PlannedObject } from "../../k8s/mod.ts";
import { messageOf } from "../../kit/mod.ts";
import { refKey } from "../../manifests/mod.ts";
import type { Keep } from "../keep.ts";

/** Under which name the agent's ledger has what an event was going to create. */
const UNMADE = "unmade";

/**
 * What an event was going to create when nothing of it existed: what exists of it at a further attempt, or after a crash of the agent, is this event's
 * own doing and no fault.
 */
export class CreateMemory {
  readonly #client: KubeClient;
  readonly #keep: Keep;
  #unmade: ReadonlySet<string> | undefined;

  constructor(client: KubeClient, keep: Keep) {
    this.#client = client;
    this.#keep = keep;
  }

  /** Reads, once, what an earlier process kept. */
  async recall(): Promise<void> {
    if (this.#unmade !== undefined) return;
    const text = await this.#keep.get(UNMADE);
    const read: unknown = text === undefined ? undefined : JSON.parse(text);
    if (Array.isArray(read)) this.#unmade = new Set(read.filter((key) => typeof key === "string"));
  }

  /** Durable before the first object is made; only after a validation that found none of them. */
  async remember({ objects }: Plan): Promise<void> {
    if (this.#unmade !== undefined) return;
    const keys = objects.map(({ ref }) => refKey(ref));
    this.#unmade = new Set(keys);
    await this.#keep.set(UNMADE, JSON.stringify(keys)).catch((error: unknown) => {
      this.#client.log.warn("What is going to be created could not be kept", { error: messageOf(error) });
    });
  }

  isOwn({ ref }: PlannedObject): boolean {
    return this.#unmade?.has(refKey(ref)) === true;
  }
}
