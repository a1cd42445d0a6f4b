import { type AgentStatus, hasFeature, type Registration } from "../../../protocol/mod.ts";
import { encodeCursor, textCursor } from "../../cursor.ts";
import type {
  AgentClaim,
  AgentKey,
  AgentQuery,
  AgentRelease,
  AgentSeen,
  AgentWrite,
  Claimed,
  Duty,
  Lease,
  LeaseInput,
  NewAudit,
  Page,
  Replica,
  StoredAgent,
} from "../../port.ts";
import { wordsOf } from "../../words.ts";
import type { Answer, Calls, Operation, Take } from "./calls.ts";
import { keyOf, splitKey, tenantKey } from "./codes.ts";
import { auditRow } from "./events.ts";
import { listOf } from "./rows.ts";

/** What is kept of an agent as it was said, and never read by the engine. */
interface Card {
  readonly registration: Registration;
  readonly principal: string;
  readonly remoteAddress: string;
  readonly connectedAtMs: number | undefined;
}

function cardText({ registration, principal, remoteAddress, connectedAtMs }: AgentWrite): string {
  return JSON.stringify({ registration, principal, remoteAddress, connectedAtMs } satisfies Card);
}

function text(value: number | undefined): string {
  return value === undefined ? "" : String(value);
}
function number(value: string): number | undefined {
  return value === "" ? undefined : Number(value);
}

function storedAgent(answer: Answer, take: Take): StoredAgent | undefined {
  if (!Array.isArray(answer)) return undefined;
  const [key, cardAt, status, lastSeen, offset, disconnected, paused, epoch, replica] = answer as [
    string,
    number,
    AgentStatus,
    ...string[],
  ];
  const { tenant, id } = splitKey(key);
  const card = JSON.parse(take(cardAt)) as Card;
  return {
    tenant,
    id,
    registration: card.registration,
    status,
    principal: card.principal,
    remoteAddress: card.remoteAddress,
    connectedAtMs: card.connectedAtMs,
    disconnectedAtMs: number(disconnected ?? ""),
    lastSeenMs: Number(lastSeen),
    clockOffsetMs: number(offset ?? ""),
    paused: paused === "1",
    epoch: Number(epoch),
    replicaId: status === "disconnected" || replica === undefined || replica === "" ? undefined : replica,
  };
}

export function claimAgent({ agent, replicaId, seenEpoch }: AgentClaim, audit: NewAudit): Operation<Claimed> {
  return {
    writes: true,
    weight: 2,
    build: (put) => [
      "ac",
      keyOf(agent.tenant, agent.id),
      replicaId,
      seenEpoch,
      put(cardText(agent)),
      agent.status,
      text(agent.lastSeenMs),
      text(agent.clockOffsetMs),
      text(agent.disconnectedAtMs),
      agent.registration.cluster_name,
      hasFeature(agent.registration, "cancel") ? "1" : "0",
      auditRow(audit, put),
    ],
    read(answer) {
      const [epoch, paused, before] = answer as [number | string, number, string];
      return { epoch: Number(epoch), paused: paused === 1, before: before === "" ? undefined : before };
    },
    words: (claimed) => wordsOf.claimAgent(agent.id, replicaId, claimed),
  };
}

export function releaseAgent(release: AgentRelease, audit: NewAudit): Operation<boolean> {
  const { tenant, id, epoch, disconnectedAtMs, lastSeenMs, clockOffsetMs } = release;
  return {
    writes: true,
    build: (put) => ["al", keyOf(tenant, id), epoch, text(disconnectedAtMs), text(lastSeenMs), text(clockOffsetMs), auditRow(audit, put)],
    read: (answer) => answer === 1,
  };
}

export function importAgent(agent: AgentWrite): Operation<boolean> {
  return {
    writes: true,
    build: (put) => [
      "ai",
      keyOf(agent.tenant, agent.id),
      put(cardText(agent)),
      text(agent.lastSeenMs),
      text(agent.clockOffsetMs),
      text(agent.disconnectedAtMs),
      agent.registration.cluster_name,
      hasFeature(agent.registration, "cancel") ? "1" : "0",
    ],
    read: (answer) => answer === 1,
  };
}

/** Agents that one call touches: about two milliseconds. */
const TOUCHED_AT_ONCE = 128;

export async function touchAgents(calls: Calls, seen: readonly AgentSeen[]): Promise<AgentKey[]> {
  const parts = Array.from({ length: Math.ceil(seen.length / TOUCHED_AT_ONCE) }, (_, at) =>
    seen.slice(at * TOUCHED_AT_ONCE, (at + 1) * TOUCHED_AT_ONCE),
  );
  return (await Promise.all(parts.map((part) => calls.run(touchSome(part))))).flat();
}

function touchSome(seen: readonly AgentSeen[]): Operation<AgentKey[]> {
  return {
    writes: true,
    weight: seen.length / 2,
    build: () => [
      "at",
      seen.map((one) => [
        keyOf(one.tenant, one.id),
        one.epoch,
        one.status,
        text(one.lastSeenMs),
        text(one.clockOffsetMs),
        one.replicaId ?? "",
      ]),
    ],
    read: (answer) =>
      listOf(answer).flatMap((at) => {
        const one = seen[Number(at) - 1];
        return one === undefined ? [] : [{ tenant: one.tenant, id: one.id }];
      }),
  };
}

export function getAgent(tenant: string, id: string): Operation<StoredAgent | undefined> {
  return { writes: false, build: () => ["ag", keyOf(tenant, id)], read: storedAgent };
}

/** Agents that one call looks at where only those of a cluster are asked for. */
const LOOKED_AT = 512;

export async function listAgents(calls: Calls, query: AgentQuery): Promise<Page<StoredAgent>> {
  let after = textCursor("agents", query.cursor) ?? "";
  const items: StoredAgent[] = [];
  for (let more = true; more && items.length <= query.limit;) {
    const page = await calls.run(someAgents(query, after, query.limit + 1 - items.length));
    items.push(...page.items);
    ({ after, more } = page);
  }
  const last = items.slice(0, query.limit).at(-1);
  return {
    items: items.slice(0, query.limit),
    nextCursor: items.length > query.limit && last !== undefined ? encodeCursor("agents", last.id) : undefined,
  };
}

function someAgents(
  query: AgentQuery,
  after: string,
  limit: number,
): Operation<{ readonly items: readonly StoredAgent[]; readonly after: string; readonly more: boolean }> {
  const looked = query.clusterName === undefined ? Math.min(limit, LOOKED_AT) : LOOKED_AT;
  return {
    writes: false,
    weight: looked / 8,
    build: () => ["as", tenantKey(query.tenant), after, looked, limit, query.clusterName ?? ""],
    read(answer, take) {
      const [found, last, more] = answer as [unknown, string, number];
      const items = listOf(found).flatMap((one) => storedAgent(one, take) ?? []);
      return { items, after: last === "" ? after : last, more: more === 1 };
    },
  };
}

/** Answers only whether there is one: the agent itself would have to be kept with the answer. The caller looks next. */
export function pauseAgent(tenant: string, id: string, paused: boolean, audit: NewAudit): Operation<boolean> {
  return {
    writes: true,
    build: (put) => ["ap", keyOf(tenant, id), paused ? "1" : "0", auditRow(audit, put)],
    read: (answer) => answer === 1,
    words: (found) => (found ? wordsOf.agent(id, paused ? "paused" : "resumed") : []),
  };
}

/** Agents that one call lets stand as disconnected. */
const DISCONNECTED_AT_ONCE = 256;

/** Leases and duties of the control planes that share the store. */
export class Leases {
  readonly #calls: Calls;
  /** Those of this process that have had one: without it now, it has lapsed. */
  readonly #renewed = new Set<string>();

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  async renew(input: LeaseInput): Promise<Lease> {
    const { replica } = input;
    const orphaned: AgentKey[] = [];
    let lapsed = false;
    for (;;) {
      const step = await this.#calls.run(renewSome(input, this.#renewed.has(replica.id)));
      this.#renewed.add(replica.id);
      lapsed ||= step.lapsed;
      orphaned.push(...step.orphaned);
      if (!step.more) return { replicas: step.replicas, lapsed, orphaned };
    }
  }

  async end(replicaId: string, nowMs: number): Promise<void> {
    while (await this.#calls.run(endSome(replicaId, nowMs)));
    this.#renewed.delete(replicaId);
  }

  takeDuty(duty: Duty, replicaId: string, ttlMs: number): Promise<boolean> {
    return this.#calls.run({ writes: true, build: () => ["gd", duty, replicaId, Math.ceil(ttlMs)], read: (answer) => answer === 1 });
  }
}

function renewSome(
  { replica, ttlMs, nowMs }: LeaseInput,
  before: boolean,
): Operation<{
  readonly lapsed: boolean;
  readonly replicas: readonly Replica[];
  readonly orphaned: readonly AgentKey[];
  readonly more: boolean;
}> {
  return {
    writes: true,
    weight: 8,
    build: (put) => ["gr", replica.id, put(JSON.stringify(replica)), Math.ceil(ttlMs), String(nowMs), before ? 1 : 0, DISCONNECTED_AT_ONCE],
    read(answer) {
      const [lapsed, replicas, orphaned, more] = answer as [number, unknown, unknown, number];
      return {
        lapsed: lapsed === 1,
        replicas: listOf(replicas)
          .map((one) => JSON.parse(String(one)) as Replica)
          .toSorted((a, b) => (a.id < b.id ? -1 : 1)),
        orphaned: listOf(orphaned).map((key) => splitKey(String(key))),
        more: more === 1,
      };
    },
  };
}

/** Answers whether there may be more of its agents. */
function endSome(replicaId: string, nowMs: number): Operation<boolean> {
  return {
    writes: true,
    weight: 64,
    build: () => ["ge", replicaId, String(nowMs), DISCONNECTED_AT_ONCE],
    read: (answer) => answer === 1,
  };
}
