import { messageOf } from "../kit/mod.ts";
import { isTerminal, type OpenDigest, type OpenFrame } from "../protocol/mod.ts";
import type { DeliveryKey } from "../stores/mod.ts";
import type { AckWatch } from "./ack-watch.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import type { Lane } from "./lane.ts";
import type { Recalls } from "./recalls.ts";
import { compareOpen, judgeHeld } from "./resync.ts";

const RESYNC = `{"type":"resync"}`;
/** An agent holds some hundreds of deliveries; what goes beyond this is not looked at, and the next comparison finds the rest. */
const MOST_HELD = 10_000;
const POSITIONS_AT_ONCE = 500;

/** Mends differences between what is in flight here and what the agent holds: after each resume, and when their digests differ. */
export class Reconciler {
  readonly #options: DispatcherOptions;
  readonly #acks: AckWatch;
  readonly #recalls: Recalls;
  readonly #isCurrent: (lane: Lane) => boolean;
  readonly #freed: (lane: Lane) => void;
  readonly #busy = new WeakSet<Lane>();

  constructor(
    options: DispatcherOptions,
    acks: AckWatch,
    recalls: Recalls,
    parts: { readonly isCurrent: (lane: Lane) => boolean; readonly freed: (lane: Lane) => void },
  ) {
    this.#options = options;
    this.#acks = acks;
    this.#recalls = recalls;
    this.#isCurrent = parts.isCurrent;
    this.#freed = parts.freed;
  }

  /** What was handed over before has gone out again on this connection. */
  resumed(lane: Lane): void {
    if (!lane.resyncs || lane.askedForOpen) return;
    lane.askedForOpen = true;
    lane.session.send(RESYNC, { urgent: true });
  }

  heartbeat(lane: Lane, open: OpenDigest): void {
    if (!lane.resyncs || !lane.watch.note(lane.openDigest(), open)) return;
    this.#options.log.info("Agent and control plane differ in what is open", {
      agent_id: lane.session.agentId,
      here: lane.inFlight.size,
      there: open.count,
    });
    lane.session.send(RESYNC, { urgent: true });
  }

  /** The agent's list. Throws nothing; one list at a time, the next comparison brings another. */
  async opened(lane: Lane, held: OpenFrame["deliveries"]): Promise<void> {
    if (!lane.resyncs || this.#busy.has(lane)) return;
    this.#busy.add(lane);
    try {
      await this.#mend(lane, held.slice(0, MOST_HELD));
    } catch (error) {
      this.#options.log.warn("What is open could not be compared", { agent_id: lane.session.agentId, error: messageOf(error) });
    } finally {
      this.#busy.delete(lane);
    }
  }

  async #mend(lane: Lane, held: OpenFrame["deliveries"]): Promise<void> {
    const { store, tenant, log } = this.#options;
    const { agentId } = lane.session;
    const { lost, strange } = compareOpen(lane.inFlight, held);
    for (const { eventId, revision } of lost) {
      const entry = lane.inFlight.get(eventId);
      if (entry === undefined) continue;
      entry.acknowledged = false;
      log.warn("Agent has lost a delivery and is handed it again", { agent_id: agentId, event_id: eventId });
      await this.#acks.resend(lane, eventId, revision);
    }
    const strays: DeliveryKey[] = [];
    for (let at = 0; at < strange.length; at += POSITIONS_AT_ONCE) {
      const some = strange.slice(at, at + POSITIONS_AT_ONCE);
      const states = await store.positions(tenant, agentId, some);
      for (const [index, key] of some.entries()) {
        if (!this.#isCurrent(lane)) return;
        if (!(await this.#settle(lane, key, judgeHeld(states[index])))) strays.push(key);
      }
    }
    lane.strays = strays;
  }

  /** False when the agent is to keep it, though it has ended here. */
  async #settle(lane: Lane, { eventId, revision }: DeliveryKey, what: ReturnType<typeof judgeHeld>): Promise<boolean> {
    const { store, tenant, log, bell, ports } = this.#options;
    const { agentId } = lane.session;
    const fields = { agent_id: agentId, event_id: eventId, revision };
    switch (what) {
      case "leave":
        log.info("Agent holds a delivery that has ended", fields);
        return false;
      case "recall":
        this.#recalls.tell(lane, eventId, revision);
        return false;
      case "claim": {
        const nowMs = ports.clock.now();
        const { epoch } = lane.session;
        const message = "Event found at its agent";
        const moved = await store.moveDelivery({ tenant, eventId, revision, to: "assigned", epoch, nowMs, message });
        if (moved.kind === "fenced") this.#options.onFenced(lane.session);
        if (moved.kind !== "moved") return true;
        bell.ring(moved.entry);
        break;
      }
      case "adopt":
        break;
    }
    if (!this.#isCurrent(lane) || lane.inFlight.has(eventId)) return true;
    log.info("Agent holds a delivery that was handed over before", fields);
    lane.put(eventId, {
      revision,
      inlineBytes: 0,
      digest: undefined,
      sentAtMs: ports.clock.monotonic(),
      acknowledged: true,
      resent: 0,
    });
    // Its end may have been stored in between, and was not looked for here then.
    const [state] = await store.positions(tenant, agentId, [{ eventId, revision }]);
    if ((state === undefined || isTerminal(state)) && lane.take(eventId, revision)) this.#freed(lane);
    return true;
  }
}
