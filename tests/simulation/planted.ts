import type { Core } from "../../src/cp/mod.ts";
import type { Around } from "./around.ts";
import type { Disk } from "./disk.ts";
import type { FrameFilter } from "./network.ts";
import type { DeliveryMove, NewEvent, StatusWrite } from "../../src/stores/mod.ts";

/** A bug put into a running system: around the store, around the ledger, or in the frames. Made anew for each run. */
export interface Planted {
  readonly store?: Around;
  readonly ledger?: Around;
  readonly frames?: FrameFilter;
  /** In each control plane as it starts. */
  readonly core?: (core: Core) => void;
}
/** `caller`: whose request the store carries out now, where several share it. */
export type Plant = (place: {
  readonly store: Disk;
  readonly caller: () => string | undefined;
  /** Virtual milliseconds since the run began. */
  readonly nowMs: () => number;
}) => Planted;

const done = (): Promise<void> => Promise.resolve();

async function later(next: () => unknown): Promise<unknown> {
  await Promise.resolve();
  return next();
}

/** Leaves a step of the ledger out and says that it was done. */
function ledgerSkips(name: string, answer: () => unknown = done): Plant {
  return () => ({ ledger: (method, _args, next) => (method === name ? answer() : next()) });
}

function storeSkips(name: string, answer: (args: readonly unknown[]) => unknown): Plant {
  return () => ({ store: (method, args, next) => (method === name ? Promise.resolve(answer(args)) : next()) });
}

/** Changes frames of a type on their way. */
function changes(type: string, change: (frame: Record<string, unknown>, count: number) => Record<string, unknown> | undefined): Plant {
  return () => {
    let count = 0;
    return {
      frames: (_direction, text) => {
        if (!text.includes(`"${type}"`)) return text;
        const frame = JSON.parse(text) as Record<string, unknown>;
        if (frame["type"] !== type) return text;
        count += 1;
        const changed = change(frame, count);
        return changed === undefined ? undefined : JSON.stringify(changed);
      },
    };
  };
}

/** What a store would say of an event that it did not keep. */
function pretendCreated(input: NewEvent): unknown {
  const { event, state, expiresAtMs, payloadBytes } = input;
  return {
    kind: "created",
    delivery: {
      ord: 1_000_000,
      tenant: input.tenant,
      eventId: event.id,
      agentId: event.targetAgent,
      revision: 1,
      state,
      priority: event.priority,
      expiresAtMs,
      payloadBytes,
      cancelRequested: false,
    },
    entries: [],
  };
}

/** Durable steps that are left out: each promise needs its own. */
export const SKIPPED_STEPS: Readonly<Record<string, Plant>> = {
  "the store does not keep an event": storeSkips("createEvent", ([input]) => pretendCreated(input as NewEvent)),
  "the store does not keep a status": storeSkips("applyStatus", ([status]) => ({
    verdict: "apply",
    state: (status as StatusWrite).state,
    entry: undefined,
  })),
  "the store does not keep that a delivery was handed over": storeSkips("moveDelivery", ([move]) => ({
    kind: "moved",
    entry: undefined,
    ...(move as DeliveryMove),
  })),
  "the store does not keep a wish to cancel": () => ({
    store: async (method, args, next) => {
      if (method !== "cancelEvent") return next();
      const [input] = args as [{ readonly tenant: string; readonly eventId: string }];
      return { kind: "requested", entry: undefined, agentId: "nobody", revision: 1, ...input };
    },
  }),
  "the store does not keep a retry": storeSkips("retryEvent", ([input]) => {
    const { eventId, tenant, nowMs } = input as { eventId: string; tenant: string; nowMs: number };
    return {
      kind: "created",
      delivery: {
        ord: 1_000_000,
        tenant,
        eventId,
        agentId: "a1",
        revision: 2,
        state: "queued",
        priority: 0,
        expiresAtMs: nowMs + 60_000,
        payloadBytes: 0,
        cancelRequested: false,
      },
      entry: undefined,
    };
  }),
  "the store does not keep a payload": storeSkips("savePayload", () => undefined),
  "the ledger does not record a delivery": ledgerSkips("record"),
  "the ledger does not keep that it was started": ledgerSkips("started"),
  "the ledger does not keep an end": ledgerSkips("finish"),
  "the ledger does not keep a status": ledgerSkips("addStatus"),
  "the ledger does not keep a piece of a payload": ledgerSkips("savePiece"),
};

/** Mistakes of other kinds. */
export const MISTAKES: Readonly<Record<string, Plant>> = {
  "202 before the commit": () => ({
    store: (method, args, next) => {
      if (method !== "createEvent") return next();
      void (next() as Promise<unknown>).catch(() => undefined);
      return Promise.resolve(pretendCreated(args[0] as NewEvent));
    },
  }),
  "an acknowledgement covers one status too many": changes("status_ack", (frame) => ({ ...frame, seq: Number(frame["seq"]) + 1 })),
  "acknowledgements of statuses are lost for good": changes("status_ack", () => undefined),
  "a status is acknowledged before it is stored": () => ({
    store: (method, args, next) => {
      if (method !== "applyStatus") return next();
      void (next() as Promise<unknown>).catch(() => undefined);
      const status = args[0] as StatusWrite;
      return Promise.resolve({ verdict: "apply", state: status.state, entry: undefined });
    },
  }),
  "a delivery is acknowledged before it is recorded": () => ({
    ledger: (method, _args, next) => {
      if (method !== "record") return next();
      void (next() as Promise<unknown>).catch(() => undefined);
      return done();
    },
  }),
  "an end is told before it is on disk": () => ({
    ledger: (method, _args, next) => {
      if (method !== "finish") return next();
      void (next() as Promise<unknown>).catch(() => undefined);
      return done();
    },
  }),
  "two writes are swapped": () => {
    let count = 0;
    return {
      store: (method, _args, next) => {
        if (method !== "applyStatus") return next();
        count += 1;
        return count % 2 === 1 ? later(next) : next();
      },
    };
  },
  "a finished delivery is not recognised": () => ({
    ledger: (method, _args, next) => (method === "finished" ? Promise.resolve(undefined) : next()),
  }),
  "a script that was begun is run again after a crash": () => ({
    ledger: async (method, _args, next) => {
      const result = await next();
      if (method !== "recover") return result;
      const recovered = result as { readonly deliveries: readonly { readonly started: boolean }[] };
      return { ...recovered, deliveries: recovered.deliveries.map((one) => ({ ...one, started: false })) };
    },
  }),
  "deliveries are recovered in the wrong order": () => ({
    ledger: async (method, _args, next) => {
      const result = await next();
      if (method !== "recover") return result;
      const recovered = result as { readonly deliveries: readonly unknown[] };
      return { ...recovered, deliveries: recovered.deliveries.toReversed() };
    },
  }),
  "statuses are forgotten by a restart": () => ({
    ledger: async (method, _args, next) => {
      const result = await next();
      return method === "recover" ? { ...(result as object), statuses: [] } : result;
    },
  }),
  "a restart forgets what was accepted": () => ({
    ledger: async (method, _args, next) => {
      const result = await next();
      return method === "recover" ? { ...(result as object), deliveries: [] } : result;
    },
  }),
  "a terminal state is overwritten": ({ store }) => ({
    store: async (method, args, next) => {
      const result = await next();
      if (method !== "applyStatus" || (result as { readonly verdict: string }).verdict !== "late") return result;
      const { eventId, revision, state } = args[0] as StatusWrite;
      store.tamper(
        "UPDATE delivery SET state = ? WHERE revision = ? AND event_no = (SELECT no FROM event WHERE id = ?)",
        state,
        revision ?? 1,
        eventId,
      );
      return result;
    },
  }),
  "the urgent overtake what they must wait for": () => ({
    store: (method, _args, next) => (method === "waitingBefore" ? Promise.resolve([]) : next()),
  }),
  "what was handed over is not handed over again": () => ({
    store: async (method, args, next) => {
      if (method !== "openDeliveries") return next();
      const { states } = args[0] as { readonly states: readonly string[] };
      return states.includes("assigned") ? [] : next();
    },
  }),
  "statuses are resent without being counted": changes("status_update", (frame) => {
    const { nth: _nth, ...rest } = frame;
    return rest;
  }),
  "what is asked for beside an apply is forgotten": () => ({
    store: async (method, _args, next) => {
      const result = await next();
      if (method !== "openDeliveries" && method !== "waitingBefore") return result;
      return (result as readonly { readonly event: object }[]).map((one) => ({ ...one, event: { ...one.event, operation: undefined } }));
    },
  }),
  "a call back never leaves the control plane": changes("cancel", () => undefined),
  "events of the same object are handed over in the wrong order": () => ({
    store: async (method, _args, next) => {
      const result = await next();
      return method === "openDeliveries" || method === "waitingBefore" ? (result as readonly unknown[]).toReversed() : result;
    },
  }),
};
