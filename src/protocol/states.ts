import * as v from "valibot";

/** States of a delivery. All but `cancelled` are 0.1's; a 0.1 program never meets that one on its wire. */
export const StateSchema = v.picklist(["created", "queued", "assigned", "in_progress", "completed", "failed", "expired", "cancelled"]);
export type State = v.InferOutput<typeof StateSchema>;

export const PhaseSchema = v.picklist(["received", "validating", "applying", "verifying", "completed", "failed"]);
export type Phase = v.InferOutput<typeof PhaseSchema>;

export const LogLevelSchema = v.picklist(["debug", "info", "warning", "error"]);
export type LogLevel = v.InferOutput<typeof LogLevelSchema>;

/**
 * Which state may follow which. `in_progress` repeats (one entry per phase); a terminal state has no successor, for ever, in its
 * revision. `assigned` goes back to `queued` when the connection that was to carry it is gone before the agent answered, and an agent
 * may finish straight from `assigned` (0.1 frames can arrive garbled, so the first status may be missing). A status from an
 * agent proves that it holds the event, so it also moves one that the control plane believes `queued`. An agent that dies right after it
 * said that it begins, and before that is on its disk, finds the event not begun, and may by then be too late: it `expired`.
 */
export const NEXT_STATES: Readonly<Record<State, readonly State[]>> = {
  created: ["queued", "assigned", "in_progress", "completed", "failed", "expired", "cancelled"],
  queued: ["assigned", "in_progress", "completed", "failed", "expired", "cancelled"],
  assigned: ["queued", "in_progress", "completed", "failed", "expired", "cancelled"],
  in_progress: ["in_progress", "completed", "failed", "expired", "cancelled"],
  completed: [],
  failed: [],
  expired: [],
  cancelled: [],
};

export const TERMINAL_STATES = ["completed", "failed", "expired", "cancelled"] as const satisfies readonly State[];
export const OPEN_STATES = ["created", "queued", "assigned", "in_progress"] as const satisfies readonly State[];

export function isTerminal(state: State): boolean {
  return NEXT_STATES[state].length === 0;
}

/** Where a delivery stands, as far as a status from its agent is judged by it. */
export interface DeliveryPosition {
  readonly state: State;
  /** The agent process whose sequence number was last applied; undefined before the first status and for 0.1 agents. */
  readonly bootId?: string | undefined;
  readonly seq?: number | undefined;
  /** The last number of agent processes before that one: one that could not be acknowledged comes again, and after newer ones. */
  readonly earlier?: Readonly<Record<string, number>> | undefined;
}

/** A status as an agent sent it. Without `bootId` and `seq` it is a 0.1 agent's: order of arrival is all there is. */
export interface ReportedStatus {
  readonly state: State;
  readonly bootId?: string | undefined;
  readonly seq?: number | undefined;
}

/**
 * - `apply`: takes effect.
 * - `stale`: seen before (same boot, sequence not higher); acknowledge and forget.
 * - `late`: the delivery is already final; kept in the log, changes nothing.
 * - `forbidden`: no agent may say this (a state that only the control plane gives, or a step back).
 */
export type Verdict = "apply" | "stale" | "late" | "forbidden";

// `expired`: the TTL ran out while the event waited in the agent's own queue, so it was never started. `cancelled`: it was called back, and
// came to a safe point; its result says what had been done by then.
const AGENT_STATES: ReadonlySet<State> = new Set<State>(["in_progress", "completed", "failed", "expired", "cancelled"]);

/** Judges a status against where its delivery stands. Pure; every store driver and both sides use it. */
export function judgeStatus(position: DeliveryPosition, status: ReportedStatus): Verdict {
  if (status.bootId !== undefined && status.seq !== undefined) {
    const last = status.bootId === position.bootId ? position.seq : position.earlier?.[status.bootId];
    if (last !== undefined && status.seq <= last) return "stale";
  }
  if (isTerminal(position.state)) return "late";
  if (!AGENT_STATES.has(status.state)) return "forbidden";
  return NEXT_STATES[position.state].includes(status.state) ? "apply" : "forbidden";
}
