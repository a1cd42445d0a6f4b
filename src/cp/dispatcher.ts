import { failpoint, messageOf } from "../kit/mod.ts";
import type { Credit, OpenDigest, OpenFrame } from "../protocol/mod.ts";
import type { DeliveryRow, EventMeta, OpenCounts, PayloadSource } from "../stores/mod.ts";
import { AckWatch } from "./ack-watch.ts";
import type { DispatcherOptions } from "./dispatcher-options.ts";
import { inlineBytes, resumeOrder, urgentOrder } from "./hand-over-order.ts";
import { HandOver } from "./hand-over.ts";
import { Lane } from "./lane.ts";
import { Precedence } from "./precedence.ts";
import { PutBack } from "./put-back.ts";
import { Recalls } from "./recalls.ts";
import { Reconciler } from "./reconciler.ts";
import { DigestWatch } from "./resync.ts";
import { route, type Wanted } from "./router.ts";
import { Sender } from "./sender.ts";
import type { AgentSession } from "./session.ts";
import { Stocktaking } from "./stocktaking.ts";

/** Bytes of inline payload that one look into the store may bring along for one agent. */
const LOAD_BYTES = 8 * 1024 * 1024;
const RETRY_MS = 1_000;
/** What waits for its time is looked after at least this often: clocks jump. */
const LONGEST_NAP_MS = 30_000;
const NONE: ReadonlySet<string> = new Set();

/** A place in an agent's window, held while the event is being committed. Give it back, or use it. */
export interface Reservation {
  readonly lane: Lane;
  readonly inlineBytes: number;
}

/** What is known of an event that is about to be committed. */
export interface About {
  readonly priority: number;
  /** Bytes of its payload; 0 when that lies apart. */
  readonly inlineBytes: number;
}

/**
 * Hands deliveries to connected agents: most urgent first, then in the order accepted, at most a window at once, and again on each new
 * connection until they are finished. An event that finds room goes out from memory right after its commit; all others are read from
 * the store when there is room, so that nothing waits in memory. What touches the same objects goes in the order accepted, always.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #lanes = new Map<string, Lane>();
  readonly #recalls: Recalls;
  readonly #acks: AckWatch;
  readonly #reconciler: Reconciler;
  readonly #putBack: PutBack;
  readonly #sender: Sender;
  readonly #handOver: HandOver;
  readonly #stocktaking: Stocktaking;
  #holding = 0;
  #counted: OpenCounts["byAgent"] | undefined;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    const lanes = () => this.#lanes.values();
    const isCurrent = (lane: Lane): boolean => this.#isCurrent(lane);
    this.#recalls = new Recalls(options.ports, lanes);
    this.#sender = new Sender(options, this.#recalls);
    const freed = (lane: Lane): void => void this.#pump(lane);
    this.#acks = new AckWatch(options, this.#sender, lanes, freed);
    this.#reconciler = new Reconciler(options, this.#acks, this.#recalls, { isCurrent, freed });
    const missing = (lane: Lane): void => {
      lane.resuming = true;
      this.queued(lane.session.agentId);
    };
    this.#stocktaking = new Stocktaking(options, this.#recalls, { lanes, isCurrent, freed, missing });
    this.#putBack = new PutBack(options, (agentId) => this.queued(agentId));
    this.#handOver = new HandOver(options, this.#sender, this.#putBack, isCurrent);
  }

  start(): void {
    this.#recalls.start();
    this.#acks.start();
  }

  stop(): void {
    this.#recalls.stop();
    this.#acks.stop();
    this.#putBack.stop();
    for (const lane of this.#lanes.values()) lane.end();
    this.#lanes.clear();
  }

  /**
   * Asks for a place for an event whose commit is asked for in the same turn: nothing that comes later may find room before it. Without a
   * place, the event is to be stored as `queued`, for the reason given.
   */
  reserve(wanted: Wanted, agentId: string, about?: About): { readonly reservation: Reservation } | { readonly why: string } {
    const lane = this.#lanes.get(agentId);
    const way = route(wanted, agentId, lane?.session);
    // Where there are others, it may be connected to one of them: that one hears of the event, and looks for it.
    if (lane === undefined && this.#options.store.info.shared) return { why: `agent ${agentId} is not connected to this control plane` };
    if (lane === undefined || way.kind !== "send") return { why: way.kind === "send" ? `agent ${agentId} is not connected` : way.why };
    const bytes = about?.inlineBytes ?? 0;
    if (this.#holding > 0 || lane.backlog || lane.room <= 0 || lane.session.congested || !lane.fits(bytes)) {
      lane.expect(about?.priority);
      return { why: lane.window > 0 ? `agent ${agentId} has other events before it` : `agent ${agentId} takes nothing at the moment` };
    }
    lane.reserved += 1;
    lane.reservedBytes += bytes;
    return { reservation: { lane, inlineBytes: bytes } };
  }

  /** While something is being accepted of which nobody knows for whom, nothing newer may find room before it. Answers how to end that. */
  hold(): () => void {
    this.#holding += 1;
    return () => {
      this.#holding -= 1;
    };
  }

  release(reservation: Reservation): void {
    this.#giveBack(reservation);
    this.#putBack.settle(reservation.lane);
    void this.#pump(reservation.lane);
  }

  /** The store failed while its event was being committed: it may stand as handed over, and is looked for as soon as the store answers. */
  doubtful(reservation: Reservation): void {
    const { lane } = reservation;
    lane.resuming = true;
    lane.expect(undefined);
    this.release(reservation);
  }

  /** Sends an event whose commit said `assigned`. */
  deliver(reservation: Reservation, delivery: DeliveryRow, event: EventMeta, payload: PayloadSource): void {
    const { lane } = reservation;
    this.#giveBack(reservation);
    if (lane.session.closed || this.#putBack.holds(lane.session.agentId)) {
      // The agent went away during the commit and nobody was given it, so it waits and can be cancelled or expire.
      this.#putBack.add(lane, delivery);
    } else if (lane.resuming || ("apart" in payload && !lane.fetches)) {
      // It must be read first, and what comes after it must not overtake it: it goes the way of what was handed over before.
      lane.resuming = true;
      lane.expect(delivery.priority);
      void this.#pump(lane);
    } else if (lane.inFlight.get(delivery.eventId)?.revision !== delivery.revision) {
      // It is in flight where it was found as handed over before this was told.
      this.#sender.send(lane, delivery, event, payload);
    }
  }

  /** Something was stored as `queued` for this agent, of this priority where that is known. */
  queued(agentId: string, priority?: number): void {
    const lane = this.#lanes.get(agentId);
    if (lane === undefined) return;
    lane.expect(priority);
    if (priority === undefined) lane.precedence.lookAgain();
    void this.#pump(lane);
  }

  /** So much waits for agents, whether it was told or not: those that know of nothing look again. */
  waiting(byAgent: OpenCounts["byAgent"]): void {
    // What was counted before the last look says nothing about what came after it.
    if (byAgent === this.#counted) return;
    this.#counted = byAgent;
    for (const lane of this.#lanes.values()) {
      const queued = byAgent.get(lane.session.agentId)?.queued ?? 0;
      if (!lane.hasMissed(queued)) continue;
      // What waits for its time stays where it is, and is not to be looked for every second.
      this.queued(lane.session.agentId);
    }
  }

  /** Everything may have changed, and the store may know less than it did: every lane looks, at what stands as handed over first. */
  lookAtAll(): void {
    for (const lane of this.#lanes.values()) {
      lane.resuming = true;
      this.queued(lane.session.agentId);
    }
  }

  /** Words may have got lost: compares what is in flight with what the store has. Throws nothing. */
  takeStock(): Promise<void> {
    return this.#stocktaking.run((agentId) => (this.#counted?.get(agentId)?.inFlight ?? 0) > 0);
  }

  connected(session: AgentSession): void {
    const { store, tenant, maxInFlight, footprints, budget, ports } = this.#options;
    const { agentId } = session;
    const precedence = new Precedence({
      waiting: (query) => store.waitingBefore({ tenant, agentId, nowMs: ports.clock.now(), ...query }),
      touches: (item) => footprints.of(item),
      budget,
      clock: ports.clock,
    });
    const lane = new Lane(session, { maxInFlight, precedence, watch: new DigestWatch() });
    this.#lanes.set(agentId, lane);
    void this.#pump(lane);
  }

  disconnected(session: AgentSession): void {
    const lane = this.#laneOf(session);
    if (lane === undefined) return;
    this.#lanes.delete(session.agentId);
    lane.end();
    this.#putBack.left(lane);
  }

  /** Another connection owns the agent by now: what was promised here is found and kept there, so nothing more is written. */
  fenced(session: AgentSession): void {
    const lane = this.#laneOf(session);
    if (lane === undefined) return;
    this.#lanes.delete(session.agentId);
    lane.end();
  }

  /** The agent has taken all that it was sent. */
  drained(session: AgentSession): void {
    const lane = this.#laneOf(session);
    if (lane !== undefined) void this.#pump(lane);
  }

  acknowledged(session: AgentSession, eventId: string, revision?: number): void {
    const entry = this.#laneOf(session)?.inFlight.get(eventId);
    if (entry !== undefined && (revision === undefined || entry.revision === revision)) entry.acknowledged = true;
  }

  /** The agent asks for a piece of this payload: it is at work on the delivery, though it cannot acknowledge it yet. */
  alive(session: AgentSession, digest: string): void {
    const lane = this.#laneOf(session);
    if (lane !== undefined) this.#acks.alive(lane, digest);
  }

  /** The agent said how much it is ready to hold. */
  credit(session: AgentSession, credit: Credit): void {
    const lane = this.#laneOf(session);
    if (lane === undefined) return;
    lane.credit(credit);
    void this.#pump(lane);
  }

  /** The agent said in short what it holds open. */
  heartbeat(session: AgentSession, open: OpenDigest): void {
    const lane = this.#laneOf(session);
    if (lane !== undefined) this.#reconciler.heartbeat(lane, open);
  }

  /** The agent listed what it holds open. */
  opened(session: AgentSession, frame: OpenFrame): void {
    const lane = this.#laneOf(session);
    if (lane !== undefined) void this.#reconciler.opened(lane, frame.deliveries);
  }

  /** The delivery is over, or another takes its place: its room is free. */
  forget(agentId: string, eventId: string, revision?: number): void {
    const lane = this.#lanes.get(agentId);
    if (lane === undefined) return;
    if (lane.wishes.size > 0) this.#recalls.done(lane, eventId, revision);
    if (lane.strays.length > 0) lane.strays = lane.strays.filter((one) => one.eventId !== eventId);
    lane.ended(eventId, revision);
    if (lane.take(eventId, revision)) void this.#pump(lane);
  }

  /** Tells an agent to give a delivery back, now and until it has ended. One that is away is told when it is handed over again. */
  recall(agentId: string, eventId: string, revision: number): void {
    const lane = this.#lanes.get(agentId);
    if (lane !== undefined) this.#recalls.wish(lane, eventId, revision);
  }

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

  #giveBack({ lane, inlineBytes: bytes }: Reservation): void {
    lane.reserved -= 1;
    lane.reservedBytes -= bytes;
  }

  /**
   * More can go out. Not while the agent takes slowly: a window of large events in its socket's queue would be too much for that, and
   * whoever is sent away for it would meet the same again on each connection.
   */
  #mayFill(lane: Lane): boolean {
    const { session } = lane;
    return (
      lane.backlog &&
      lane.room > 0 &&
      !session.paused &&
      !session.congested &&
      this.#isCurrent(lane) &&
      !this.#putBack.holds(session.agentId)
    );
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
      lane.precedence.lookAgain();
      lane.retry?.cancel();
      lane.retry = this.#options.ports.timers.after(RETRY_MS, () => void this.#pump(lane), { background: true });
    } finally {
      lane.loading = false;
    }
  }

  /** One look into the store. False when the lane should rest. */
  async #load(lane: Lane): Promise<boolean> {
    const { store, tenant, ports } = this.#options;
    const { version, resuming, room } = lane;
    lane.look();
    const maxBytes = Math.min(LOAD_BYTES, Math.max(1, lane.freeBytes));
    const items = await store.openDeliveries({
      tenant,
      agentId: lane.session.agentId,
      states: resuming ? ["assigned", "in_progress"] : ["created", "queued"],
      // What is in flight is past waiting, and the store reads a row for each that it has to skip.
      skip: resuming ? new Set(lane.inFlight.keys()) : NONE,
      order: resuming ? "accepted" : "urgent",
      nowMs: ports.clock.now(),
      maxItems: room,
      maxBytes,
    });
    failpoint("cp.dispatch.loaded");
    if (!this.#isCurrent(lane)) return false;
    if (items.length > 0) {
      // Nothing waits beyond what was answered.
      const whole = items.length < room && inlineBytes(items) < maxBytes;
      const ordered = await (resuming ? resumeOrder(this.#options, lane, items) : urgentOrder(this.#options, lane, items, whole));
      return this.#isCurrent(lane) && this.#handOver.run(lane, ordered);
    }
    if (resuming) {
      lane.resuming = false;
      this.#reconciler.resumed(lane);
    } else if (lane.version === version) {
      lane.backlog = false;
      lane.waiting = "none";
      lane.precedence.clear();
      await this.#setAlarm(lane);
    }
    return true;
  }

  /** Looks again when the next delivery may start that waits for its time. */
  async #setAlarm(lane: Lane): Promise<void> {
    const { store, tenant, ports } = this.#options;
    const { agentId } = lane.session;
    const startMs = await store.nextStartMs(tenant, agentId, ports.clock.now());
    lane.alarm?.cancel();
    lane.alarm = undefined;
    if (startMs === undefined || !this.#isCurrent(lane)) return;
    const napMs = Math.max(1, Math.min(LONGEST_NAP_MS, startMs - ports.clock.now()));
    lane.alarm = ports.timers.after(napMs, () => this.queued(agentId), { background: true });
  }
}
