import type { AgentClaim, DeliveryMove, LeaseInput, NewEvent, OpenQuery, StatusWrite } from "../../src/stores/mod.ts";
import type { Disk } from "./disk.ts";
import type { Plant } from "./planted.ts";

function epochOf(store: Disk, agentId: string): number {
  return store.read<{ id: string; epoch: number }>("SELECT id, epoch FROM agent").find(({ id }) => id === agentId)?.epoch ?? 0;
}

function agentOf(store: Disk, eventId: string): string {
  return (
    store.read<{ id: string; agent: string }>("SELECT id, target_agent AS agent FROM event").find(({ id }) => id === eventId)?.agent ?? ""
  );
}

/** The arguments of a write of an owner with another epoch, as `choose` says for its agent; undefined for all else. */
function withEpoch(
  store: Disk,
  method: string,
  args: readonly unknown[],
  choose: (agentId: string) => number,
): readonly unknown[] | undefined {
  if (method === "applyStatus") {
    const status = args[0] as StatusWrite;
    return [{ ...status, epoch: choose(status.agentId) }];
  }
  if (method === "moveDelivery") {
    const move = args[0] as DeliveryMove;
    return [{ ...move, epoch: choose(agentOf(store, move.eventId)) }];
  }
  if (method === "createEvent") {
    const input = args[0] as NewEvent;
    return [{ ...input, epoch: choose(input.event.targetAgent) }];
  }
  return undefined;
}

/** Lets some writes of owners count whatever their epoch. */
function ignoresEpochOf(...methods: readonly string[]): Plant {
  return ({ store }) => ({
    store: (method, args, next) =>
      next(methods.includes(method) ? withEpoch(store, method, args, (agentId) => epochOf(store, agentId)) : args),
  });
}

const LEASE_MS = 6_000;

/** A bug, and the seed from which on it is looked for: some need a rare mixture, and all that comes before it takes its time. */
export interface SharedMistake {
  readonly from: number;
  readonly plant: Plant;
}

/** Bugs that only several control planes over one store can show. */
const PLANTS = {
  "a status counts whatever its epoch": ignoresEpochOf("applyStatus"),
  "a hand-over counts whatever its epoch": ignoresEpochOf("moveDelivery", "createEvent"),
  "a lease stands for the epoch": ({ store, caller, nowMs }) => {
    const renewed = new Map<string | undefined, number>();
    return {
      store: (method, args, next) => {
        if (method === "renewLease" && (args[0] as LeaseInput).ttlMs > 0) renewed.set(caller(), nowMs());
        const leased = nowMs() - (renewed.get(caller()) ?? Number.NEGATIVE_INFINITY) < LEASE_MS;
        return next(withEpoch(store, method, args, (agentId) => (leased ? epochOf(store, agentId) : -1)) ?? args);
      },
    };
  },
  "what became of a request that was not answered is not looked for": () => {
    /** Agents for which what was handed over has been looked through since they came. */
    const looked = new Set<string>();
    return {
      store: async (method, args, next) => {
        if (method === "claimAgent") looked.delete((args[0] as AgentClaim).agent.id);
        if (method !== "openDeliveries") return next();
        const { agentId, states, maxItems } = args[0] as OpenQuery;
        if (!states.includes("assigned")) return next();
        if (looked.has(agentId)) return [];
        const found = (await next()) as readonly unknown[];
        if (found.length < maxItems) looked.add(agentId);
        return found;
      },
    };
  },
  "words are lost, and nobody looks without them": () => ({
    core: ({ hearing }) => void Object.assign(hearing, { words: () => undefined, gap: () => undefined, look: () => Promise.resolve() }),
  }),
  "an agent forgets by a restart which owner was the newest": () => ({
    ledger: (method, _args, next) => (method === "saveEpoch" ? Promise.resolve() : next()),
  }),
  "a claim does not look at what the agent has seen": () => ({
    store: (method, args, next) => next(method === "claimAgent" ? [{ ...(args[0] as AgentClaim), seenEpoch: 0 }, args[1]] : args),
  }),
} satisfies Readonly<Record<string, Plant>>;

const FROM: Readonly<Partial<Record<keyof typeof PLANTS, number>>> = {
  "a hand-over counts whatever its epoch": 150,
  "what became of a request that was not answered is not looked for": 60,
};

export const SHARED_MISTAKES: Readonly<Record<string, SharedMistake>> = Object.fromEntries(
  Object.entries(PLANTS).map(([name, plant]) => [name, { from: FROM[name as keyof typeof PLANTS] ?? 1, plant }]),
);
