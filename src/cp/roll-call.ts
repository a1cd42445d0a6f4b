import type { StoredAgent, Store } from "../stores/mod.ts";
import type { AgentSession } from "./session.ts";

const PAGE = 500;
/** Whoever has just come, or gone, is about to say so itself. */
const SETTLED_MS = 60_000;

export interface RollCallOptions {
  readonly store: Pick<Store, "listAgents">;
  readonly tenant: string;
  readonly replicaId: string;
  readonly sessionOf: (agentId: string) => AgentSession | undefined;
  readonly sessions: () => Iterable<AgentSession>;
}

export interface RollCall {
  /** Connected here, with what the store says of them. */
  readonly present: readonly { readonly session: AgentSession; readonly agent: StoredAgent }[];
  /** Connected here all along, and not in the store. */
  readonly unknown: readonly AgentSession[];
  /** They stand as connected here for a while and are not: a claim or a farewell whose outcome nobody knew. */
  readonly ghosts: readonly StoredAgent[];
}

/** Compares what the store says of agents with those that are here. Throws what the store throws. */
export async function callRoll(options: RollCallOptions, nowMs: number): Promise<RollCall> {
  const { store, tenant, replicaId, sessionOf } = options;
  const began = [...options.sessions()];
  const seen = new Set<string>();
  const present: RollCall["present"][number][] = [];
  const ghosts: StoredAgent[] = [];
  let cursor: string | undefined;
  do {
    const page = await store.listAgents({ tenant, limit: PAGE, ...(cursor === undefined ? {} : { cursor }) });
    for (const agent of page.items) {
      seen.add(agent.id);
      const session = sessionOf(agent.id);
      if (session !== undefined) present.push({ session, agent });
      else if (agent.replicaId === replicaId && nowMs - Math.max(agent.lastSeenMs, agent.connectedAtMs ?? 0) > SETTLED_MS)
        ghosts.push(agent);
    }
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  const unknown = began.filter((session) => !seen.has(session.agentId) && sessionOf(session.agentId) === session);
  return { present, unknown, ghosts };
}
