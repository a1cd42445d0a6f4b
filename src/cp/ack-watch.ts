import { messageOf, type TimerHandle } from "../kit/mod.ts";
import { CLOSE, isTerminal } from "../protocol/mod.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import { failDelivery } from "./fail-delivery.ts";
import type { Lane } from "./lane.ts";
import { route } from "./router.ts";
import type { Sender } from "./sender.ts";

/** An acknowledging agent that does not acknowledge gets the delivery again after this long. */
const ACK_TIMEOUT_MS = 30_000;

/** Sends again what is not acknowledged, a few times on each connection; whoever acknowledges nothing even then is sent away. */
export class AckWatch {
  readonly #options: DispatcherOptions;
  readonly #sender: Sender;
  readonly #lanes: () => Iterable<Lane>;
  /** Its room is free. */
  readonly #freed: (lane: Lane) => void;
  #timer: TimerHandle | undefined;

  constructor(options: DispatcherOptions, sender: Sender, lanes: () => Iterable<Lane>, freed: (lane: Lane) => void) {
    this.#options = options;
    this.#sender = sender;
    this.#lanes = lanes;
    this.#freed = freed;
  }

  start(): void {
    this.#timer = this.#options.ports.timers.every(ACK_TIMEOUT_MS / 3, () => this.#look(), { background: true });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** The agent is at work on whatever has this payload: it cannot acknowledge before it has all of it. */
  alive(lane: Lane, digest: string): void {
    const nowMs = this.#options.ports.clock.monotonic();
    for (const entry of lane.inFlight.values()) {
      if (entry.digest !== digest) continue;
      entry.sentAtMs = nowMs;
      entry.resent = 0;
    }
  }

  #look(): void {
    const nowMs = this.#options.ports.clock.monotonic();
    for (const lane of this.#lanes()) {
      const { congested, agentId } = lane.session;
      for (const [eventId, entry] of lane.inFlight) {
        // What is on its way still cannot be acknowledged: the time counts from when the agent has taken it.
        if (congested) entry.sentAtMs = nowMs;
        if (entry.acknowledged || nowMs - entry.sentAtMs < ACK_TIMEOUT_MS) continue;
        if (entry.resent >= this.#options.maxResends) {
          this.#options.log.warn("Agent does not acknowledge and is sent away", { agent_id: agentId, event_id: eventId });
          lane.session.close(CLOSE.tooSlow, "does not acknowledge");
          break;
        }
        entry.sentAtMs = nowMs;
        entry.resent += 1;
        void this.resend(lane, eventId, entry.revision);
      }
    }
  }

  /** Reads a delivery that is in flight and sends it once more, unless it has ended. */
  async resend(lane: Lane, eventId: string, revision: number): Promise<void> {
    const { store, tenant, log } = this.#options;
    try {
      const stored = await store.getEvent(tenant, eventId, { payload: true, log: false });
      if (lane.session.closed || lane.inFlight.get(eventId)?.revision !== revision) return;
      if (stored?.payload === undefined || stored.delivery.revision !== revision || isTerminal(stored.delivery.state)) {
        if (lane.take(eventId, revision)) this.#freed(lane);
        return;
      }
      const way = route(stored.event, stored.delivery.agentId, { paused: false, capabilities: lane.session.capabilities });
      if (way.kind === "refuse") {
        // Its agent claims to hold what it was never to get.
        if (lane.take(eventId, revision)) this.#freed(lane);
        const failed = await failDelivery(this.#options, stored.delivery, lane.session.epoch, "CAPABILITY_MISSING", way.why);
        if (!failed) this.#options.onFenced(lane.session);
        return;
      }
      log.warn("Event sent again, not acknowledged", { event_id: eventId, agent_id: lane.session.agentId });
      await this.#sender.again(lane, stored.delivery, stored.event, stored.payload);
    } catch (error) {
      log.error("Event could not be sent again", { event_id: eventId, error: messageOf(error) });
    }
  }
}
