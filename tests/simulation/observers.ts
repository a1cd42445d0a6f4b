import type { Ledger, NewDelivery } from "../../src/agent/ledger.ts";
import { TransporterError } from "../../src/kit/mod.ts";
import { isTerminal, OPERATIONS_CAPABILITY, type State } from "../../src/protocol/mod.ts";
import type { StatusOutcome, StatusWrite } from "../../src/stores/mod.ts";
import type { ScriptRunner } from "../../src/agent/script.ts";
import type { Around } from "./around.ts";
import type { Disk } from "./disk.ts";
import type { FrameFilter } from "./network.ts";
import type { Cluster } from "./cluster.ts";
import { type History, keyOf } from "./history.ts";
import type { World } from "./world.ts";

/** A disk that takes nothing while it is full. */
export interface DiskState {
  full: boolean;
}

const READS = new Set([
  "getEvent",
  "contentDigest",
  "listEvents",
  "openDeliveries",
  "waitingBefore",
  "nextStartMs",
  "positions",
  "nextDueMs",
  "logAfter",
  "lastSeq",
  "getAgent",
  "listAgents",
  "counters",
  "openCounts",
  "payloadPiece",
  "recover",
  "finished",
  "manifests",
  "payload",
  "encoded",
  "sweepPayloads",
  "close",
  "renewLease",
  "endLease",
  "takeDuty",
  "mark",
  "auditAfter",
  "inspect",
  "hear",
]);

/** Refuses writes while the disk is full, as the real stores do: nothing was written. */
export function fillable(disk: DiskState, history: History): Around {
  return (method, _args, next) => {
    if (!disk.full || READS.has(method)) return next();
    history.counts.diskFull += 1;
    return Promise.reject(new TransporterError("STORE_FULL", "the disk is full"));
  };
}

function shown(value: unknown): string {
  return JSON.stringify(value, (name, inner: unknown) =>
    name === "audit" || name === "payload" || name === "event" || name === "entry" || inner instanceof Uint8Array ? undefined : inner,
  )?.slice(0, 260);
}

/** Writes every call into the trace. */
export function traced(world: World, what: string): Around {
  return (method, args, next) => {
    const result = next();
    if (world.lines === undefined || method === "touchAgents" || method === "nextDueMs") return result;
    world.note(`${what}.${method} ${shown(args[0]) ?? ""}`);
    if (result instanceof Promise)
      result.then(
        (value: unknown) => world.lines?.push(`            ${what}.${method} -> ${shown(value) ?? ""}`),
        (error: unknown) => world.lines?.push(`            ${what}.${method} -> ${String(error)}`),
      );
    return result;
  };
}

/** Watches what a store takes. */
export function watchStore(world: World, history: History): Around {
  /** The highest number of each boot that took effect, by delivery. */
  let applied = new Map<string, number>();
  let failOvers = 0;
  return (method, args, next) => {
    // What it was put back to knows less.
    if (failOvers !== history.counts.failOvers) applied = new Map();
    failOvers = history.counts.failOvers;
    const result = next();
    if (method === "applyStatus" && result instanceof Promise) {
      const status = args[0] as StatusWrite;
      void whenDone(world, result, (value) => {
        const outcome = value as StatusOutcome;
        history.verdicts.add(outcome.verdict);
        if (outcome.verdict !== "apply" || status.bootId === undefined || status.seq === undefined) return;
        const key = `${status.eventId}#${status.revision ?? ""}/${status.bootId}`;
        const before = applied.get(key) ?? 0;
        if (status.seq <= before) history.violate(`status ${status.seq} of ${key} took effect after ${before}`);
        applied.set(key, Math.max(before, status.seq));
      });
    }
    return result;
  };
}

const NEVER = new Set(["PAYLOAD_LOST", "INTERNAL", "INVALID_EVENT", "EMPTY_MANIFESTS", "EMPTY_SCRIPT", "CAPABILITY_MISSING"]);

function recorded(disk: Disk, eventId: string, revision: number): string | undefined {
  const rows = disk.read<{ work: string; state: string }>("SELECT work, state FROM deliveries");
  return rows.find(({ work }) => {
    const one = JSON.parse(work) as { readonly eventId: string; readonly revision?: number };
    return one.eventId === eventId && one.revision === revision;
  })?.state;
}

function codeOf(details: Readonly<Record<string, unknown>> | undefined): string {
  const code = details?.["code"];
  return typeof code === "string" ? code : "";
}

/** Tells of what a call came to, but not of what a dead process is told: that is not so. */
async function whenDone(world: World, result: Promise<unknown>, tell: (value: unknown) => void): Promise<void> {
  try {
    const value = await result;
    if (world.current?.dead !== true) tell(value);
  } catch {
    // Whoever asked for it sees that it failed.
  }
}

/** Of an agent that is old all along: it does not announce that it knows operations, and must never be handed one. */
export function watchOldAgent(history: History, oldId: string | undefined): FrameFilter {
  return (direction, text, agentId) => {
    if (agentId !== oldId) return text;
    if (direction === "up") return text.includes('"capabilities"') ? text.replace(`,"${OPERATIONS_CAPABILITY}"`, "") : text;
    if (!text.includes('"nth"')) return text;
    const { event, revision } = JSON.parse(text) as { readonly event?: { readonly id: string }; readonly revision?: number };
    if (event !== undefined && history.plans.get(event.id)?.operation === true)
      history.violate(`${agentId} was handed ${keyOf(event.id, revision ?? 0)}, of which it does not know what to do`);
    return text;
  };
}

/** An agent may only say that it has, and that it has ended, what is on its disk. */
export function watchFrames(history: History, diskOf: (agentId: string) => Disk | undefined): FrameFilter {
  return (direction, text, agentId) => {
    if (direction === "up" && text.includes('"event_ack"')) {
      const { event_id: id, revision } = JSON.parse(text) as { readonly event_id: string; readonly revision: number };
      const disk = diskOf(agentId);
      if (disk !== undefined && recorded(disk, id, revision) === undefined)
        history.violate(`${agentId} acknowledged ${keyOf(id, revision)}, which is not on its disk`);
    } else if (direction === "up" && text.includes('"status_update"')) {
      const {
        event_id: id,
        revision,
        state,
      } = JSON.parse(text) as { readonly event_id: string; readonly revision: number; readonly state: State };
      const disk = diskOf(agentId);
      if (isTerminal(state) && disk !== undefined && recorded(disk, id, revision) !== "finished")
        history.violate(`${agentId} told the end of ${keyOf(id, revision)}, which is not on its disk`);
    }
    return text;
  };
}

/** A script may only run when it is on disk that it does. */
export function watchScripts(history: History, disk: Disk, run: ScriptRunner): ScriptRunner {
  return (work, payload, context) => {
    if (recorded(disk, work.eventId, work.revision ?? 0) !== "started")
      history.violate(`the script of ${keyOf(work.eventId, work.revision ?? 0)} runs, and its start is not on disk`);
    return run(work, payload, context);
  };
}

/** Watches what an agent's ledger takes: what is in it must not be lost. */
export function watchLedger(world: World, history: History, cluster: Cluster): Around {
  const works = new Map<string, { readonly eventId: string; readonly revision: number }>();
  const learn = (key: string, work: { readonly eventId: string; readonly revision: number | undefined }): void => {
    works.set(key, { eventId: work.eventId, revision: work.revision ?? 0 });
  };
  const kept = (record: Parameters<Ledger["addStatus"]>[0]): void => {
    history.keptStatuses.set(`${record.bootId}/${record.seq}`, {
      key: keyOf(record.eventId, record.revision ?? 0),
      state: record.state,
      timestamp: record.timestamp,
    });
  };
  return (method, args, next) => {
    // Whoever is about to be carried out says so first, so this tells which revision the cluster's next writes are of.
    if (method === "started") {
      const work = works.get(args[0] as string);
      if (work !== undefined) {
        cluster.revisions.set(work.eventId, work.revision);
      }
    }
    if (method === "record") {
      const { delivery } = args[0] as NewDelivery;
      learn(delivery.key, delivery.work);
    }
    const result = next();
    if (!(result instanceof Promise)) return result;
    void whenDone(world, result, (value) => {
      if (method === "recover") for (const one of (value as Awaited<ReturnType<Ledger["recover"]>>).deliveries) learn(one.key, one.work);
      else if (method === "addStatus") kept(args[0] as Parameters<typeof kept>[0]);
      else if (method === "saveEpoch") history.epochs.set(cluster.agentId, args[0] as number);
      else if (method === "finish") {
        const [, work, final] = args as Parameters<Ledger["finish"]>;
        const key = keyOf(work.eventId, work.revision ?? 0);
        kept(final);
        const code = codeOf(final.details);
        // What a store loses it loses with its payload.
        const wasLost = code === "PAYLOAD_LOST" && history.lost.has(key);
        if (NEVER.has(code) && !wasLost) history.violate(`${key} ended with ${code}: ${final.message}`);
        const before = history.finishedAtAgent.get(key);
        if (before !== undefined) history.violate(`${key} ended ${final.state} at its agent, which had ended it ${before.state} already`);
        history.finishedAtAgent.set(key, { atMs: world.nowMs, state: final.state, code });
      } else if (method === "dropStatuses")
        for (const { bootId, seq } of args[0] as Parameters<Ledger["dropStatuses"]>[0]) history.keptStatuses.delete(`${bootId}/${seq}`);
    });
    return result;
  };
}
