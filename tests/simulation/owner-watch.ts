import type {
  AgentClaim,
  AgentRelease,
  Claimed,
  CreateOutcome,
  DeliveryMove,
  MoveOutcome,
  NewEvent,
  StatusOutcome,
  StatusWrite,
} from "../../src/stores/mod.ts";
import type { Around } from "./around.ts";
import type { Disk } from "./disk.ts";
import type { History } from "./history.ts";
import type { Link, LinkWatch } from "./network.ts";
import type { World } from "./world.ts";

/** Nobody else than the newest owner of an agent writes about its deliveries, and each owner has a number of its own. */
export class OwnerWatch {
  readonly #world: World;
  readonly #history: History;
  readonly #epochs = new Map<string, number>();

  constructor(world: World, history: History) {
    this.#world = world;
    this.#history = history;
  }

  /** The store is another, and knows what it knows. */
  restored(disk: Disk): void {
    this.#epochs.clear();
    for (const { id, epoch } of disk.read<{ id: string; epoch: number }>("SELECT id, epoch FROM agent")) this.#epochs.set(id, epoch);
  }

  /** Around everything that could be wrong with the store. */
  get around(): Around {
    return (method, args, next) => {
      const result = next();
      if (result instanceof Promise) void this.#see(method, args, result);
      return result;
    };
  }

  async #see(method: string, args: readonly unknown[], result: Promise<unknown>): Promise<void> {
    let value: unknown;
    try {
      value = await result;
    } catch {
      return;
    }
    // What a server that is gone says is not so.
    if (this.#world.current?.dead !== true) this.#judge(method, args, value);
  }

  #judge(method: string, args: readonly unknown[], value: unknown): void {
    const history = this.#history;
    if (method === "claimAgent") {
      const { agent, seenEpoch } = args[0] as AgentClaim;
      const { epoch } = value as Claimed;
      if (epoch <= seenEpoch || epoch <= (this.#epochs.get(agent.id) ?? 0))
        history.violate(
          `${agent.id} was claimed with epoch ${epoch}, and has seen ${seenEpoch}; the store had ${this.#epochs.get(agent.id)}`,
        );
      this.#epochs.set(agent.id, epoch);
    } else if (method === "removeAgent") this.#epochs.delete(args[1] as string);
    else if (method === "applyStatus") {
      const { agentId, epoch, eventId } = args[0] as StatusWrite;
      this.#wrote(agentId, epoch, (value as StatusOutcome).verdict !== "fenced", `a status of ${eventId}`);
    } else if (method === "moveDelivery") {
      const { eventId, epoch } = args[0] as DeliveryMove;
      const { kind } = value as MoveOutcome;
      const agentId = history.plans.get(eventId)?.agentId;
      if (agentId !== undefined && kind !== "refused") this.#wrote(agentId, epoch, kind === "moved", `a move of ${eventId}`);
    } else if (method === "createEvent") {
      const { event, state, epoch } = args[0] as NewEvent;
      const outcome = value as CreateOutcome;
      // What waits before it holds it back as well.
      if (state === "assigned" && outcome.kind === "created" && outcome.delivery.state === "assigned")
        this.#wrote(event.targetAgent, epoch ?? 0, true, `the hand-over of ${event.id}`);
    } else if (method === "releaseAgent") {
      const { id, epoch } = args[0] as AgentRelease;
      this.#wrote(id, epoch, value === true, "a farewell");
    }
  }

  #wrote(agentId: string, epoch: number, counted: boolean, what: string): void {
    const newest = this.#epochs.get(agentId);
    if (newest === undefined) return;
    if (!counted) this.#history.counts.fenced += 1;
    if (counted && epoch < newest) this.#history.violate(`${what} counted with epoch ${epoch} of ${agentId}, whose owner has ${newest}`);
    // A store that was put back learns of newer owners in more ways than are looked at here.
    if (!counted && epoch >= newest && this.#history.counts.failOvers === 0)
      this.#history.violate(`${what} was fenced with epoch ${epoch} of ${agentId}, whose owner has ${newest}`);
    if (epoch > newest) this.#epochs.set(agentId, epoch);
  }
}

/** An agent that has the word of an owner on its disk has nothing to do with one before, nor with another of the same number. */
export function watchLinks(history: History): LinkWatch {
  const heard = new Map<string, Link>();
  return (direction, text, link) => {
    if (direction === "arrived") {
      if (link.epoch !== undefined || !text.includes('"registered"')) return;
      const { status, epoch } = JSON.parse(text) as { readonly status?: string; readonly epoch?: string };
      if (status === "registered" && epoch !== undefined) link.epoch = Number(epoch);
      return;
    }
    if (link.epoch === undefined) return;
    const before = heard.get(link.agentId);
    const newest = before?.epoch ?? 0;
    if (link.epoch < newest || (link.epoch === newest && before !== link))
      history.violate(`${link.agentId} speaks to the owner ${link.epoch}, and has seen ${newest}: ${text.slice(0, 80)}`);
    else if (link.epoch <= (history.epochs.get(link.agentId) ?? 0)) heard.set(link.agentId, link);
  };
}
