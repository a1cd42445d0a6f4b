import { type Logger, type Ports, refusalError, TransporterError } from "../kit/mod.ts";
import { formatDurationMs, formatTimestamp, isTerminal, type State } from "../protocol/mod.ts";
import type { Principal } from "../security/mod.ts";
import type { NewEvent, Store } from "../stores/mod.ts";
import type { Bell } from "./bell.ts";
import type { BodyParser } from "./body-parser.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { PreparedEvent } from "./prepare.ts";

/** Who hands an event in, and by which way. */
export interface IntakeSource {
  readonly principal: Principal;
  readonly remoteAddress: string;
  readonly requestId: string;
  /** The W3C trace context of the request, for an event that carries none. */
  readonly traceparent: string | undefined;
}

export interface IntakeResult {
  readonly eventId: string;
  /** The same event was here before; nothing was done. */
  readonly duplicate: boolean;
  readonly state: State;
}

export interface IntakeOptions {
  readonly store: Store;
  readonly dispatcher: Dispatcher;
  readonly bell: Bell;
  readonly parser: BodyParser;
  readonly ports: Ports;
  readonly log: Logger;
  readonly onAccepted: (expiresAtMs: number) => void;
  /** How many events wait for one agent before more are turned away with TOO_MANY_REQUESTS. */
  readonly maxQueuedPerAgent: number;
  readonly queuedFor: (agentId: string) => number;
}

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Takes bytes in as an event: size was limited by whoever read them; here they are checked, stored, and only then acknowledged. */
export class Intake {
  readonly #options: IntakeOptions;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Resolves when the event is durable. Throws the refusal otherwise; then nothing was kept. */
  async submit(bytes: Uint8Array, source: IntakeSource): Promise<IntakeResult> {
    const { ports, log, dispatcher } = this.#options;
    const checked = await this.#options.parser.prepare(bytes);
    if (!checked.ok) throw refusalError(checked);
    const prepared = checked.value;
    const receivedAtMs = ports.clock.now();
    const { id, targetAgent, type } = prepared.event;
    const expiresAtMs = Math.round(Math.min(prepared.event.createdAtMs ?? receivedAtMs, receivedAtMs) + prepared.event.ttlMs);
    if (expiresAtMs <= receivedAtMs) return this.#overdue(prepared, source, receivedAtMs, expiresAtMs);
    if (this.#options.queuedFor(targetAgent) >= this.#options.maxQueuedPerAgent) {
      throw new TransporterError("TOO_MANY_REQUESTS", `${this.#options.maxQueuedPerAgent} events wait for agent ${targetAgent} already`);
    }
    const place = dispatcher.reserve(type, targetAgent);
    const reservation = "reservation" in place ? place.reservation : undefined;
    const input = this.#newEvent(prepared, source, receivedAtMs, expiresAtMs, "why" in place ? place.why : undefined);
    let outcome;
    try {
      outcome = await this.#options.store.createEvent(input);
    } catch (error) {
      if (reservation !== undefined) dispatcher.release(reservation);
      throw error;
    }
    if (outcome.kind !== "created") {
      if (reservation !== undefined) dispatcher.release(reservation);
      if (outcome.kind === "conflict") throw conflict(id);
      return { eventId: id, duplicate: true, state: outcome.state };
    }
    log.info("Received event via HTTP", {
      event_id: id,
      agent_id: targetAgent,
      type,
      state: input.state,
      bytes: prepared.payloadBytes,
      request_id: source.requestId,
    });
    for (const entry of outcome.entries) this.#options.bell.ring(entry);
    this.#options.onAccepted(expiresAtMs);
    if (reservation !== undefined) {
      dispatcher.deliver(reservation, outcome.delivery, input.event, prepared.payloadText);
    } else {
      log.info("Event queued for offline agent", { event_id: id, agent_id: targetAgent, state: "queued", why: input.message });
      dispatcher.queued(targetAgent);
    }
    return { eventId: id, duplicate: false, state: input.state };
  }

  #newEvent(
    prepared: PreparedEvent,
    source: IntakeSource,
    receivedAtMs: number,
    expiresAtMs: number,
    waitsBecause: string | undefined,
  ): NewEvent {
    const { event } = prepared;
    const traceparent =
      event.traceparent ?? (source.traceparent !== undefined && TRACEPARENT.test(source.traceparent) ? source.traceparent : undefined);
    return {
      tenant: source.principal.tenant,
      principal: source.principal.name,
      // An event without a time was made when it was received; kept, so that every delivery of it says the same.
      event: { ...event, createdAt: event.createdAt ?? formatTimestamp(receivedAtMs), traceparent },
      payloadText: prepared.payloadText,
      payloadDigest: prepared.payloadDigest,
      payloadBytes: prepared.payloadBytes,
      contentDigest: prepared.contentDigest,
      receivedAtMs,
      expiresAtMs,
      state: waitsBecause === undefined ? "assigned" : "queued",
      message: waitsBecause === undefined ? "Event routed to agent" : `Event waits: ${waitsBecause}`,
      audit: {
        tenant: source.principal.tenant,
        atMs: receivedAtMs,
        principal: source.principal.name,
        action: "event_received_http",
        eventId: event.id,
        agentId: event.targetAgent,
        ...(event.createdBy === "" ? {} : { user: event.createdBy }),
        remoteAddress: source.remoteAddress,
        requestId: source.requestId,
      },
    };
  }

  /** Past its TTL at the door. An event that was accepted in time gets its old answer again; all else is refused. */
  async #overdue(prepared: PreparedEvent, source: IntakeSource, receivedAtMs: number, expiresAtMs: number): Promise<IntakeResult> {
    const { event } = prepared;
    const digest = await this.#options.store.contentDigest(source.principal.tenant, event.id);
    if (digest?.digest === prepared.contentDigest) return { eventId: event.id, duplicate: true, state: digest.state };
    if (digest !== undefined && !isTerminal(digest.state)) throw conflict(event.id);
    const agoMs = receivedAtMs - expiresAtMs;
    throw new TransporterError(
      "EVENT_EXPIRED",
      `event ${event.id} is expired: created_at ${event.createdAt ?? ""} plus ttl ${formatDurationMs(event.ttlMs)} was ${formatDurationMs(agoMs)} ago by this control plane's clock (${formatTimestamp(receivedAtMs)})`,
    );
  }
}

function conflict(id: string): TransporterError {
  return new TransporterError("EVENT_CONFLICT", `event ${id} exists already with other content`);
}
