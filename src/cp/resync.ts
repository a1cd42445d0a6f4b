import type { OpenDigest, OpenFrame, State } from "../protocol/mod.ts";
import { isTerminal } from "../protocol/mod.ts";
import type { DeliveryKey } from "../stores/mod.ts";
import type { InFlight } from "./lane.ts";

/** The same difference on so many heartbeats running is none that is merely on its way. */
const SAME_TIMES = 2;
/** Under load no two heartbeats find the same, so any difference on so many running counts as well. */
const ANY_TIMES = 6;
/** A difference that asking did not mend is not asked about again on each heartbeat. */
const REST_BEATS = 30;

/** Compares what both sides say is open, heartbeat by heartbeat, and says when the agent should be asked for its list. */
export class DigestWatch {
  #last = "";
  #same = 0;
  #any = 0;
  #rest = 0;

  /** True when it is time to ask. */
  note(here: OpenDigest, there: OpenDigest): boolean {
    if (here.count === there.count && here.digest === there.digest) {
      this.#last = "";
      this.#same = 0;
      this.#any = 0;
      this.#rest = 0;
      return false;
    }
    const pair = `${here.count} ${here.digest} ${there.count} ${there.digest}`;
    this.#same = pair === this.#last ? this.#same + 1 : 1;
    this.#last = pair;
    this.#any += 1;
    if (this.#rest > 0) {
      this.#rest -= 1;
      return false;
    }
    if (this.#same < SAME_TIMES && this.#any < ANY_TIMES) return false;
    this.#any = 0;
    // The first question goes out at the second beat, the next, should that one be lost, two beats later, and then only now and then.
    this.#rest = this.#same >= SAME_TIMES * 2 ? REST_BEATS : SAME_TIMES - 1;
    return true;
  }
}

type Held = OpenFrame["deliveries"][number];

export interface Difference {
  /** In flight here, acknowledged by the agent, and yet not held by it: to be handed over again. */
  readonly lost: readonly DeliveryKey[];
  /** Held by the agent and not in flight here: the store knows what to make of them. */
  readonly strange: readonly DeliveryKey[];
}

/**
 * Compares what is in flight with what an agent says that it holds. What the agent has not acknowledged may be on its way still, and is
 * sent again in its own time. Pure.
 */
export function compareOpen(inFlight: ReadonlyMap<string, InFlight>, held: readonly Held[]): Difference {
  const there = new Set<string>();
  const strange: DeliveryKey[] = [];
  for (const { event_id: eventId, revision } of held) {
    const key = `${revision} ${eventId}`;
    if (there.has(key)) continue;
    there.add(key);
    if (inFlight.get(eventId)?.revision !== revision) strange.push({ eventId, revision });
  }
  const lost: DeliveryKey[] = [];
  for (const [eventId, entry] of inFlight) {
    if (entry.acknowledged && !there.has(`${entry.revision} ${eventId}`)) lost.push({ eventId, revision: entry.revision });
  }
  return { lost, strange };
}

/**
 * What becomes of a delivery that an agent holds and that is not in flight here, by where it stands in the store.
 * - `adopt`: it was handed over before; it counts as in flight again.
 * - `claim`: it waits here though the agent has it: handed over without being sent.
 * - `recall`: it was cancelled; the agent is told.
 * - `leave`: it has ended otherwise, or nobody knows it; what the agent says of it in the end goes to the log.
 */
export function judgeHeld(state: State | undefined): "adopt" | "claim" | "recall" | "leave" {
  if (state === "cancelled") return "recall";
  if (state === undefined || isTerminal(state)) return "leave";
  return state === "created" || state === "queued" ? "claim" : "adopt";
}
