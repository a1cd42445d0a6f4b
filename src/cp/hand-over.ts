import { failpoint, messageOf, TransporterError } from "../kit/mod.ts";
import type { DeliveryRow, DispatchItem, PayloadSource } from "../stores/mod.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import { failDelivery } from "./fail-delivery.ts";
import type { Lane } from "./lane.ts";
import type { PutBack } from "./put-back.ts";
import { route } from "./router.ts";
import type { Sender } from "./sender.ts";

/** Bytes of payload that are read and sent in one go. */
const BATCH_BYTES = 8 * 1024 * 1024;

function waits({ state }: DeliveryRow): boolean {
  return state === "created" || state === "queued";
}

/** Gives what the store held to an agent: written down as handed over first, then sent, in order. */
export class HandOver {
  readonly #options: DispatcherOptions;
  readonly #sender: Sender;
  readonly #putBack: PutBack;
  readonly #isCurrent: (lane: Lane) => boolean;

  constructor(options: DispatcherOptions, sender: Sender, putBack: PutBack, isCurrent: (lane: Lane) => boolean) {
    this.#options = options;
    this.#sender = sender;
    this.#putBack = putBack;
    this.#isCurrent = isCurrent;
  }

  /** As far as there is room. False when the lane should rest. Throws what the store throws. */
  async run(lane: Lane, items: readonly DispatchItem[]): Promise<boolean> {
    const nowMs = this.#options.ports.clock.now();
    const ready: DispatchItem[] = [];
    const refused: { readonly delivery: DeliveryRow; readonly why: string }[] = [];
    let overdue = false;
    let bytes = 0;
    for (const item of items) {
      const { delivery, event, payload } = item;
      if (lane.room - ready.length <= 0) break;
      const held = lane.inFlight.get(delivery.eventId);
      if (held !== undefined && held.revision >= delivery.revision) continue;
      // There is a newer revision only where the one before has ended, whatever is believed here.
      if (held !== undefined) lane.take(delivery.eventId);
      if (waits(delivery) && delivery.expiresAtMs <= nowMs) {
        overdue = true;
        continue;
      }
      const way = route(event, delivery.agentId, lane.session);
      if (way.kind === "wait") return false;
      if (way.kind === "refuse") {
        refused.push({ delivery, why: way.why });
        continue;
      }
      const inline = lane.inlineOf(payload, delivery.payloadBytes);
      if (!lane.fits(inline, bytes)) break;
      if (bytes > 0 && bytes + inline > BATCH_BYTES) break;
      bytes += inline;
      ready.push(item);
    }
    if (ready.length > 0 && !(await this.#assignAndSend(lane, ready, bytes))) return false;
    for (const { delivery, why } of refused) {
      if (!(await failDelivery(this.#options, delivery, lane.session.epoch, "CAPABILITY_MISSING", why))) return this.#fenced(lane);
      lane.precedence.forget(delivery.ord);
    }
    // Tried again a little later, because at once would be without end while the store takes nothing.
    if (overdue && !(await this.#options.onOverdue()))
      throw new TransporterError("STORE_UNAVAILABLE", "an event past its TTL could not be ended");
    return this.#isCurrent(lane) && (ready.length > 0 || refused.length > 0 || overdue);
  }

  /** Writes down together that they go to the agent, then sends them in their order. False when the connection is gone. */
  async #assignAndSend(lane: Lane, items: readonly DispatchItem[], bytes: number): Promise<boolean> {
    // The places are taken before the await, so that events arriving meanwhile do not get them too.
    lane.reserved += items.length;
    lane.reservedBytes += bytes;
    try {
      const sources = await Promise.all(items.map(({ payload }) => this.#sender.readable(lane, payload)));
      if (!this.#isCurrent(lane)) return false;
      const outcomes = await Promise.allSettled(items.map((item, at) => this.#assign(lane, item, sources[at])));
      failpoint("cp.dispatch.assigned");
      // Whoever owns the agent now finds what was written down before that.
      if (outcomes.some((outcome) => outcome.status === "fulfilled" && outcome.value === "fenced")) return this.#fenced(lane);
      let failed: { readonly reason: unknown } | undefined;
      for (const [at, item] of items.entries()) {
        const [source, outcome] = [sources[at], outcomes[at]];
        if (outcome?.status === "rejected") failed ??= { reason: outcome.reason };
        if (outcome?.status !== "fulfilled" || outcome.value !== "send" || source === undefined) continue;
        lane.precedence.forget(item.delivery.ord);
        if (lane.hasEnded(item.delivery)) continue;
        // After one that could not be moved, or on a connection that is gone, the others would overtake it: they wait again.
        if (failed === undefined && this.#isCurrent(lane)) {
          this.#sender.send(lane, item.delivery, item.event, source);
          lane.turns += 1;
        } else if (waits(item.delivery)) {
          this.#putBack.add(lane, item.delivery);
        }
      }
      // It may have been written all the same: what stands as handed over and is not in flight is looked for first.
      if (failed !== undefined) lane.resuming = true;
      if (failed !== undefined) throw failed.reason instanceof Error ? failed.reason : new Error(messageOf(failed.reason));
      return this.#isCurrent(lane);
    } finally {
      lane.reserved -= items.length;
      lane.reservedBytes -= bytes;
      this.#putBack.settle(lane);
    }
  }

  #fenced(lane: Lane): false {
    this.#options.onFenced(lane.session);
    return false;
  }

  /** Whether it is to be sent; not when it has ended meanwhile, or its payload is gone. */
  async #assign(lane: Lane, { delivery }: DispatchItem, source: PayloadSource | undefined): Promise<"send" | "drop" | "fenced"> {
    const { store, ports, bell } = this.#options;
    const { epoch } = lane.session;
    if (source === undefined) {
      const why = "the payload of the event is not there any more";
      return (await failDelivery(this.#options, delivery, epoch, "PAYLOAD_LOST", why)) ? "drop" : "fenced";
    }
    if (delivery.state === "in_progress") return "send";
    const { tenant, eventId, revision } = delivery;
    const nowMs = ports.clock.now();
    const moved = await store.moveDelivery({ tenant, eventId, revision, to: "assigned", epoch, nowMs, message: "Event routed to agent" });
    if (moved.kind !== "moved") return moved.kind === "fenced" ? "fenced" : "drop";
    bell.ring(moved.entry);
    return "send";
  }
}
