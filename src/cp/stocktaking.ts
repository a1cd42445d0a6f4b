import { messageOf } from "../kit/mod.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import type { Lane } from "./lane.ts";
import type { Recalls } from "./recalls.ts";

/** Lanes that are compared at the same time. */
const AT_ONCE = 32;

/**
 * Compares what is in flight with what the store has as handed over. What others did is told by words, which may get lost: an end that is not
 * heard of would keep its place for good, and a wish would never reach the agent. What the store has and nobody sent, as after a call that
 * was given up and carried out late, would stay there for good.
 */
export class Stocktaking {
  readonly #options: DispatcherOptions;
  readonly #recalls: Recalls;
  readonly #lanes: () => Iterable<Lane>;
  readonly #isCurrent: (lane: Lane) => boolean;
  /** Its room is free. */
  readonly #freed: (lane: Lane) => void;
  /** Something stands as handed over to it and is not in flight. */
  readonly #missing: (lane: Lane) => void;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(
    options: DispatcherOptions,
    recalls: Recalls,
    parts: {
      readonly lanes: () => Iterable<Lane>;
      readonly isCurrent: (lane: Lane) => boolean;
      readonly freed: (lane: Lane) => void;
      readonly missing: (lane: Lane) => void;
    },
  ) {
    this.#options = options;
    this.#recalls = recalls;
    this.#lanes = parts.lanes;
    this.#isCurrent = parts.isCurrent;
    this.#freed = parts.freed;
    this.#missing = parts.missing;
  }

  /** All that have, or should have, anything in flight; once more where it is asked for meanwhile. Throws nothing. */
  run(handedOverTo: (agentId: string) => boolean): Promise<void> {
    this.#again = true;
    this.#running ??= this.#all(handedOverTo).finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #all(handedOverTo: (agentId: string) => boolean): Promise<void> {
    while (this.#again) {
      this.#again = false;
      const lanes = [...this.#lanes()].filter((lane) => lane.inFlight.size > 0 || handedOverTo(lane.session.agentId));
      try {
        for (let at = 0; at < lanes.length; at += AT_ONCE)
          await Promise.all(lanes.slice(at, at + AT_ONCE).map((lane) => this.#compare(lane)));
      } catch (error) {
        this.#options.log.warn("What is in flight could not be compared with the store", { error: messageOf(error) });
      }
    }
  }

  async #compare(lane: Lane): Promise<void> {
    if (!this.#isCurrent(lane)) return;
    const { store, tenant, log } = this.#options;
    const { agentId } = lane.session;
    const before = new Map(lane.inFlight);
    const stored = new Set<string>();
    let missing = false;
    const items = await store.handedOver(tenant, agentId);
    if (!this.#isCurrent(lane)) return;
    for (const { eventId, revision, cancelRequested } of items) {
      stored.add(`${revision} ${eventId}`);
      if (cancelRequested && lane.wishes.get(eventId)?.revision !== revision) this.#recalls.wish(lane, eventId, revision);
      // What came and went meanwhile is no more than looked for in vain.
      if (before.get(eventId)?.revision !== revision && lane.inFlight.get(eventId)?.revision !== revision) missing = true;
    }
    let ended = 0;
    for (const [eventId, entry] of before) {
      // Written down as handed over before it was in flight, so it has ended since.
      if (lane.inFlight.get(eventId) === entry && !stored.has(`${entry.revision} ${eventId}`) && lane.take(eventId, entry.revision))
        ended += 1;
    }
    if (ended > 0) {
      log.info("Deliveries had ended without word of it", { agent_id: agentId, ended });
      this.#freed(lane);
    }
    // What is being handed over just now is there already and not sent yet.
    if (missing && lane.reserved === 0 && lane.orphans.length === 0) this.#missing(lane);
  }
}
