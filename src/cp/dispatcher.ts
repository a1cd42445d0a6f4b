import { type Logger, messageOf, type Ports, type TimerHandle, TransporterError } from "../kit/mod.ts";
import { CLOSE, type EventType, formatTimestamp, type LogEntry, OPEN_STATES } from "../protocol/mod.ts";
import type { DeliveryRow, DispatchItem, EventMeta, PayloadSource, Store } from "../stores/mod.ts";
import type { Bell } from "./bell.ts";
import { eventJson } from "./prepare.ts";
import type { Registry } from "./registry.ts";
import { route } from "./router.ts";
import type { AgentSession } from "./session.ts";

/** Bytes of payload that one look into the store may bring along for one agent. */
const LOAD_BYTES = 8 * 1024 * 1024;
/** An acknowledging agent that does not acknowledge gets the delivery again after this long. */
const ACK_TIMEOUT_MS = 30_000;
const RETRY_MS = 1_000;
const NONE: ReadonlySet<string> = new Set();

function isHandedOver({ state }: DeliveryRow): boolean {
  return state === "assigned" || state === "in_progress";
}

interface InFlight {
  sentAtMs: number;
  acknowledged: boolean;
  /** How often it was sent again on this connection. */
  resent: number;
}

/** What one connection has been given and may still be given. */
class Lane {
  readonly session: AgentSession;
  /** How many deliveries may be unfinished at the agent at once. */
  readonly window: number;
  readonly inFlight = new Map<string, InFlight>();
  /** Places promised to events that are being committed. */
  reserved = 0;
  /** The store may hold deliveries that are not in flight. */
  backlog = true;
  /** What was handed over on an earlier connection goes out again first. */
  resuming = true;
  loading = false;
  /** Somebody asked for a look while one was under way. */
  asked = false;
  /** Grows when something new is known to wait, so that a load that began before does not miss it. */
  version = 0;

  constructor(session: AgentSession, window: number) {
    this.session = session;
    this.window = window;
  }

  get room(): number {
    return this.window - this.inFlight.size - this.reserved;
  }
}

/** A place in an agent's window, held while the event is being committed. Give it back, or use it. */
export interface Reservation {
  readonly lane: Lane;
}

export interface DispatcherOptions {
  readonly tenant: string;
  readonly store: Store;
  readonly registry: Registry;
  readonly bell: Bell;
  readonly ports: Ports;
  readonly log: Logger;
  /** Deliveries in flight for each acknowledging agent; a 0.1 agent gets one at a time. */
  readonly maxInFlight: number;
  /** How often an unacknowledged delivery is sent again before the connection is given up. */
  readonly maxResends: number;
  /** Called when a delivery past its TTL was met; false when what is due could not be ended. */
  readonly onOverdue: () => Promise<boolean>;
}

/**
 * Hands deliveries to connected agents: most urgent first, then in the order accepted, at most a window at once, and again on each new
 * connection until they are finished. An event that finds room goes out from memory right after its commit; all others are read from
 * the store when there is room, so that nothing waits in memory.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #lanes = new Map<string, Lane>();
  #ackTimer: TimerHandle | undefined;

  constructor(options: DispatcherOptions) {
    this.#options = options;
  }

  start(): void {
    this.#ackTimer = this.#options.ports.timers.every(ACK_TIMEOUT_MS / 3, () => this.#resendUnacknowledged(), { background: true });
  }

  stop(): void {
    this.#ackTimer?.cancel();
    this.#lanes.clear();
  }

  /** Asks for a place for an event that is about to be committed. Without one, the event is to be stored as `queued`, for the reason given. */
  reserve(type: EventType, agentId: string): { readonly reservation: Reservation } | { readonly why: string } {
    const lane = this.#lanes.get(agentId);
    const way = route(type, agentId, lane?.session);
    if (way.kind !== "send") return { why: way.why };
    if (lane === undefined || lane.backlog || lane.room <= 0 || lane.session.congested)
      return { why: `agent ${agentId} has other events before it` };
    lane.reserved += 1;
    return { reservation: { lane } };
  }

  release({ lane }: Reservation): void {
    lane.reserved -= 1;
    void this.#pump(lane);
  }

  /** Sends an event whose commit said `assigned`. */
  deliver({ lane }: Reservation, delivery: DeliveryRow, event: EventMeta, payload: PayloadSource): void {
    lane.reserved -= 1;
    if (!lane.session.closed) this.#send(lane, delivery, event, payload);
    // The agent went away during the commit. Where it is back, its new lane has found the delivery as assigned; where it is not, nobody
    // was given it, so it waits and can be cancelled or expire: whoever connects from now on looks after this move.
    else if (!this.#lanes.has(delivery.agentId)) void this.#putBack(delivery);
  }

  async #putBack(delivery: DeliveryRow): Promise<void> {
    const { tenant, eventId, revision, agentId } = delivery;
    try {
      const moved = await this.#options.store.moveDelivery({
        tenant,
        eventId,
        revision,
        to: "queued",
        nowMs: this.#options.ports.clock.now(),
        message: `Event waits: agent ${agentId} went away`,
      });
      if (moved.kind === "moved") this.#options.bell.ring(moved.entry);
      this.queued(agentId);
    } catch (error) {
      this.#options.log.error("Event could not be put back", { event_id: eventId, agent_id: agentId, error: messageOf(error) });
    }
  }

  /** Something was stored as `queued` for this agent. */
  queued(agentId: string): void {
    const lane = this.#lanes.get(agentId);
    if (lane === undefined) return;
    lane.backlog = true;
    lane.version += 1;
    void this.#pump(lane);
  }

  connected(session: AgentSession): void {
    const lane = new Lane(session, session.acks ? this.#options.maxInFlight : 1);
    this.#lanes.set(session.agentId, lane);
    void this.#pump(lane);
  }

  disconnected(session: AgentSession): void {
    if (this.#lanes.get(session.agentId)?.session === session) this.#lanes.delete(session.agentId);
  }

  /** The agent has taken all that it was sent. */
  drained(session: AgentSession): void {
    const lane = this.#laneOf(session);
    if (lane !== undefined) void this.#pump(lane);
  }

  acknowledged(session: AgentSession, eventId: string): void {
    const entry = this.#laneOf(session)?.inFlight.get(eventId);
    if (entry !== undefined) entry.acknowledged = true;
  }

  /** The delivery is over, or another takes its place: its room is free. */
  forget(agentId: string, eventId: string): void {
    const lane = this.#lanes.get(agentId);
    if (lane?.inFlight.delete(eventId) === true) void this.#pump(lane);
  }

  /** Whether an agent that holds a delivery can be told to give it back. */
  canRecall(_agentId: string): boolean {
    return false;
  }

  /** Tells an agent that it is to give a delivery back, if it is connected and holds it. */
  recall(_agentId: string, _eventId: string, _revision: number): void {}

  inFlightOf(agentId: string): number {
    return this.#lanes.get(agentId)?.inFlight.size ?? 0;
  }

  #laneOf(session: AgentSession): Lane | undefined {
    const lane = this.#lanes.get(session.agentId);
    return lane?.session === session ? lane : undefined;
  }

  #isCurrent(lane: Lane): boolean {
    return !lane.session.closed && this.#laneOf(lane.session) === lane;
  }

  #send(lane: Lane, delivery: DeliveryRow, event: EventMeta, payload: PayloadSource): boolean {
    const { clock } = this.#options.ports;
    const json = eventJson(event, "text" in payload ? payload.text : "{}");
    // The TTL bounds the start: an agent that lost its memory of what it had begun must not take it for expired.
    const begun = delivery.state === "in_progress";
    const rest = begun ? "" : `,"expires_in_ms":${Math.max(0, Math.round(delivery.expiresAtMs - clock.now()))}`;
    const frame = lane.session.acks
      ? `{"type":"event","event":${json},"revision":${delivery.revision}${rest}}`
      : `{"type":"event","event":${json}}`;
    lane.inFlight.set(delivery.eventId, {
      sentAtMs: clock.monotonic(),
      acknowledged: !lane.session.acks,
      resent: lane.inFlight.get(delivery.eventId)?.resent ?? 0,
    });
    if (!lane.session.send(frame)) return false;
    this.#options.log.info("Event routed to agent", {
      event_id: delivery.eventId,
      agent_id: delivery.agentId,
      cluster: lane.session.clusterName,
      state: delivery.state,
    });
    return true;
  }

  /**
   * More can go out. Not while the agent takes slowly: a window of large events in its socket's queue would be too much for that, and
   * whoever is sent away for it would meet the same again on each connection.
   */
  #mayFill(lane: Lane): boolean {
    const { session } = lane;
    return lane.backlog && lane.room > 0 && !session.paused && !session.congested && this.#isCurrent(lane);
  }

  /** Fills a lane's window from the store until there is no room or nothing waits. One loop a lane. */
  async #pump(lane: Lane): Promise<void> {
    if (lane.loading) {
      lane.asked = true;
      return;
    }
    if (!lane.backlog) return;
    lane.loading = true;
    try {
      // Deliveries end in bursts: the room of all that ended in this turn is filled by one look into the store.
      await Promise.resolve();
      do {
        lane.asked = false;
        while (this.#mayFill(lane)) if (!(await this.#load(lane))) break;
      } while (lane.asked);
    } catch (error) {
      this.#options.log.error("Deliveries could not be loaded", { agent_id: lane.session.agentId, error: messageOf(error) });
      this.#options.ports.timers.after(RETRY_MS, () => void this.#pump(lane), { background: true });
    } finally {
      lane.loading = false;
    }
  }

  /** One look into the store. False when the lane should rest. */
  async #load(lane: Lane): Promise<boolean> {
    const { store, tenant } = this.#options;
    const { version, resuming } = lane;
    const states = resuming
      ? OPEN_STATES.filter((state) => state === "assigned" || state === "in_progress")
      : OPEN_STATES.filter((state) => state === "created" || state === "queued");
    const items = await store.openDeliveries({
      tenant,
      agentId: lane.session.agentId,
      states,
      // What is in flight is past waiting, and the store reads a row for each that it has to skip.
      skip: resuming ? new Set(lane.inFlight.keys()) : NONE,
      order: resuming ? "accepted" : "urgent",
      nowMs: this.#options.ports.clock.now(),
      maxItems: lane.room,
      maxBytes: LOAD_BYTES,
    });
    if (!this.#isCurrent(lane)) return false;
    if (items.length > 0) return this.#handOver(lane, items);
    if (resuming) lane.resuming = false;
    else if (lane.version === version) lane.backlog = false;
    return true;
  }

  /** Gives what waited in the store to the agent, as far as there is room. False when the lane should rest. */
  async #handOver(lane: Lane, items: readonly DispatchItem[]): Promise<boolean> {
    const nowMs = this.#options.ports.clock.now();
    const ready: DispatchItem[] = [];
    const refused: { readonly delivery: DeliveryRow; readonly why: string }[] = [];
    let overdue = false;
    for (const item of items) {
      const { delivery, event } = item;
      if (lane.room - ready.length <= 0) break;
      if (lane.inFlight.has(delivery.eventId)) continue;
      if (!isHandedOver(delivery) && delivery.expiresAtMs <= nowMs) {
        overdue = true;
        continue;
      }
      const way = route(event.type, delivery.agentId, lane.session);
      if (way.kind === "wait") return false;
      if (way.kind === "refuse") refused.push({ delivery, why: way.why });
      else ready.push(item);
    }
    if (ready.length > 0 && !(await this.#assignAndSend(lane, ready))) return false;
    for (const { delivery, why } of refused) await this.#refuse(delivery, why);
    // Tried again a little later, because at once would be without end while the store takes nothing.
    if (overdue && !(await this.#options.onOverdue()))
      throw new TransporterError("STORE_UNAVAILABLE", "an event past its TTL could not be ended");
    return this.#isCurrent(lane) && (ready.length > 0 || refused.length > 0 || overdue);
  }

  /** Writes down together that they go to the agent, then sends them in their order. False when the connection is gone. */
  async #assignAndSend(lane: Lane, items: readonly DispatchItem[]): Promise<boolean> {
    const { store, ports, bell } = this.#options;
    // The places are taken before the await, so that events arriving meanwhile do not get them too.
    lane.reserved += items.length;
    const outcomes = await Promise.allSettled(
      items.map(async ({ delivery }) => {
        if (delivery.state === "in_progress") return true;
        const moved = await store.moveDelivery({
          tenant: delivery.tenant,
          eventId: delivery.eventId,
          revision: delivery.revision,
          to: "assigned",
          nowMs: ports.clock.now(),
          message: "Event routed to agent",
        });
        if (moved.kind === "refused") return false;
        bell.ring(moved.entry);
        return true;
      }),
    );
    lane.reserved -= items.length;
    if (!this.#isCurrent(lane)) return false;
    let failure: unknown;
    for (let at = 0; at < items.length; at += 1) {
      const [item, outcome] = [items[at], outcomes[at]];
      if (item === undefined || outcome === undefined) break;
      if (outcome.status === "rejected") failure ??= outcome.reason;
      else if (outcome.value && !this.#send(lane, item.delivery, item.event, item.payload)) return false;
    }
    // Those that were moved are sent by now; the others wait in the store as before.
    if (failure !== undefined) throw failure instanceof Error ? failure : new Error(messageOf(failure));
    return true;
  }

  async #refuse(delivery: DeliveryRow, why: string): Promise<void> {
    const nowMs = this.#options.ports.clock.now();
    const timestamp = formatTimestamp(nowMs);
    const outcome = await this.#options.store.applyStatus({
      tenant: delivery.tenant,
      eventId: delivery.eventId,
      revision: delivery.revision,
      agentId: delivery.agentId,
      bootId: undefined,
      seq: undefined,
      state: "failed",
      phase: "failed",
      level: "error",
      message: `CAPABILITY_MISSING: ${why}`,
      details: { code: "CAPABILITY_MISSING" },
      result: { success: false, error_message: why, error_code: "CAPABILITY_MISSING", completed_at: timestamp, duration: 0 },
      timestamp,
      nowMs,
    });
    this.#ring(outcome.entry);
  }

  #ring(entry: LogEntry | undefined): void {
    this.#options.bell.ring(entry);
  }

  #resendUnacknowledged(): void {
    const nowMs = this.#options.ports.clock.monotonic();
    for (const lane of this.#lanes.values()) {
      for (const [eventId, entry] of lane.inFlight) {
        // What is on its way still cannot be acknowledged: the time counts from when the agent has taken it.
        if (lane.session.congested) entry.sentAtMs = nowMs;
        if (entry.acknowledged || nowMs - entry.sentAtMs < ACK_TIMEOUT_MS) continue;
        if (entry.resent >= this.#options.maxResends) {
          this.#options.log.warn("Agent does not acknowledge and is sent away", { agent_id: lane.session.agentId, event_id: eventId });
          lane.session.close(CLOSE.tooSlow, "does not acknowledge");
          break;
        }
        entry.sentAtMs = nowMs;
        entry.resent += 1;
        void this.#resend(lane, eventId);
      }
    }
  }

  async #resend(lane: Lane, eventId: string): Promise<void> {
    try {
      const stored = await this.#options.store.getEvent(this.#options.tenant, eventId, { payload: true, log: false });
      if (stored?.payload === undefined || !this.#isCurrent(lane) || !lane.inFlight.has(eventId)) return;
      this.#options.log.warn("Event sent again, not acknowledged", { event_id: eventId, agent_id: lane.session.agentId });
      this.#send(lane, stored.delivery, stored.event, stored.payload);
    } catch (error) {
      this.#options.log.error("Event could not be sent again", { event_id: eventId, error: messageOf(error) });
    }
  }
}
