import { failpoint, type Logger, type Ports, refusalError, TransporterError } from "../kit/mod.ts";
import { formatDurationMs, formatTimestamp, isTerminal, LIMITS, type State } from "../protocol/mod.ts";
import type { Principal } from "../security/mod.ts";
import type { CreateOutcome, EncodedPayload, EventMeta, NewEvent, PayloadSource, Store } from "../stores/mod.ts";
import type { Bell } from "./bell.ts";
import type { Body, BodyParser } from "./body-parser.ts";
import type { CloudEnvelope } from "./cloud-envelope.ts";
import type { Dispatcher, Reservation } from "./dispatcher.ts";
import { idOfKey } from "./idempotency.ts";
import type { OpenGauge } from "./open-gauge.ts";
import type { Permits } from "./permits.ts";
import { type IdRule, OWN_ID, type PreparedEvent } from "./prepare.ts";

/** Who hands an event in, and by which way. */
export interface IntakeSource {
  readonly principal: Principal;
  readonly remoteAddress: string;
  readonly requestId: string;
  /** The W3C trace context of the request, for an event that carries none. */
  readonly traceparent: string | undefined;
  /** Stands for the id of an event that brings none. */
  readonly idempotencyKey?: string | undefined;
  /** An event without id and key is given one. 0.1 refuses it. */
  readonly makesIds?: boolean;
  /** The event comes in a CloudEvent. */
  readonly envelope?: CloudEnvelope | undefined;
  /** By which door, for the log and the audit; HTTP where nothing is said. */
  readonly via?: "http" | "queue";
}

export interface IntakeResult {
  readonly eventId: string;
  /** The same event was here before; nothing was done. */
  readonly duplicate: boolean;
  readonly state: State;
}

export interface RetryResult {
  readonly revision: number;
}

export interface IntakeLimits {
  /** How many events wait for one agent before more are turned away with TOO_MANY_REQUESTS. */
  readonly queuedPerAgent: number;
  /** How many events may be on their way to the disk at once before more are turned away likewise. */
  readonly committing: number;
}
export const INTAKE_LIMITS: IntakeLimits = { queuedPerAgent: 100_000, committing: 4_096 };

export interface IntakeOptions {
  readonly store: Store;
  readonly dispatcher: Dispatcher;
  readonly bell: Bell;
  readonly parser: Pick<BodyParser, "prepare">;
  readonly permits: Pick<Permits, "require">;
  readonly gauge: OpenGauge;
  readonly ports: Ports;
  readonly log: Logger;
  /** Whether other control planes share the store: an agent that is not here may be at one of them. */
  readonly hasOthers: () => boolean;
  readonly onAccepted: (expiresAtMs: number) => void;
  readonly limits: IntakeLimits;
}

/** When an event may start, and when it is too late for that. */
interface Times {
  readonly receivedAtMs: number;
  /** Undefined: at once. */
  readonly notBeforeMs: number | undefined;
  readonly expiresAtMs: number;
}

const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Takes bytes in as an event: size was limited by whoever read them; here they are checked, stored, and only then acknowledged. */
export class Intake {
  readonly #options: IntakeOptions;

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Resolves when the event is durable. Throws the refusal otherwise; then nothing was kept. */
  async submit(body: Body, source: IntakeSource): Promise<IntakeResult> {
    const { parser, gauge, dispatcher } = this.#options;
    const preparing = parser.prepare(body, this.#ruleFor(source));
    const checked = preparing instanceof Promise ? await preparing : preparing;
    if (!checked.ok) throw refusalError(checked);
    const prepared = checked.value;
    const { event } = prepared;
    const permitted = this.#permit(source.principal, event);
    if (permitted instanceof Promise) await permitted;
    const times = this.#timesOf(event);
    failpoint("cp.intake.checked");
    if (times.expiresAtMs <= times.receivedAtMs) return this.#overdue(prepared, source, times);
    if (!this.#enter(event.targetAgent)) await this.#enterAfterLook(event.targetAgent);
    let kept = false;
    try {
      if (prepared.encoded !== undefined) {
        // A repeated event is told from its digest; its payload, which may be large, need not be written for that.
        const known = await this.#known(prepared, source);
        if (known !== undefined) return known;
        await this.#options.store.savePayload(prepared.encoded);
      }
      let { reservation, input } = this.#placed(prepared, source, times);
      let outcome: CreateOutcome;
      try {
        // Awaited alike for all: those that are committed together go on from here in the order of their commits.
        outcome = await this.#options.store.createEvent(input);
        if (outcome.kind === "conflict" && prepared.encoded !== undefined && (await this.#rewritten(input, prepared.encoded))) {
          // What was accepted meanwhile goes first.
          if (reservation !== undefined) dispatcher.release(reservation);
          ({ reservation, input } = this.#placed(prepared, source, times));
          outcome = await this.#options.store.createEvent(input);
        }
      } catch (error) {
        // It may have been kept all the same.
        if (reservation !== undefined) dispatcher.doubtful(reservation);
        else dispatcher.queued(event.targetAgent);
        throw error;
      }
      if (outcome.kind !== "created") {
        if (reservation !== undefined) dispatcher.release(reservation);
        if (outcome.kind === "conflict") throw conflict(event.id);
        return { eventId: event.id, duplicate: true, state: outcome.state };
      }
      kept = true;
      const { delivery } = outcome;
      if (reservation !== undefined && delivery.state === "queued") {
        // Something waits before it that came in elsewhere, or the agent is owned elsewhere: whoever looks at what waits finds out.
        dispatcher.release(reservation);
        reservation = undefined;
      }
      failpoint("cp.intake.committed");
      this.#accepted(input, delivery.state, prepared, source);
      for (const entry of outcome.entries) this.#options.bell.ring(entry);
      failpoint("cp.intake.before-deliver");
      if (reservation !== undefined) dispatcher.deliver(reservation, delivery, input.event, payloadOf(prepared));
      else dispatcher.queued(event.targetAgent, event.priority);
      return { eventId: event.id, duplicate: false, state: delivery.state };
    } finally {
      gauge.left(event.targetAgent, kept);
    }
  }

  /** Makes the next revision of an event that has ended; `agentId` is for the audit, where it is known whom it is for. Throws EVENT_NOT_FOUND, EVENT_NOT_RETRYABLE, TOO_MANY_REQUESTS. */
  async retry(eventId: string, source: IntakeSource, agentId?: string): Promise<RetryResult> {
    // Whom it is for is known only afterwards, and nothing newer may be handed over before it meanwhile.
    const letGo = this.#options.dispatcher.hold();
    try {
      return await this.#retry(eventId, source, agentId);
    } finally {
      letGo();
    }
  }

  async #retry(eventId: string, source: IntakeSource, ofAgent: string | undefined): Promise<RetryResult> {
    const { ports, store, bell, dispatcher, log, onAccepted } = this.#options;
    const { principal, remoteAddress, requestId } = source;
    const nowMs = ports.clock.now();
    const outcome = await store.retryEvent({
      tenant: principal.tenant,
      eventId,
      principal: principal.name,
      nowMs,
      message: `Event tried again by ${principal.name}`,
      audit: {
        tenant: principal.tenant,
        atMs: nowMs,
        principal: principal.name,
        action: "event_retried",
        eventId,
        ...(ofAgent === undefined ? {} : { agentId: ofAgent }),
        remoteAddress,
        requestId,
      },
    });
    if (outcome.kind === "missing") throw new TransporterError("EVENT_NOT_FOUND", `there is no event ${eventId}`);
    if (outcome.kind === "refused")
      throw new TransporterError(
        "EVENT_NOT_RETRYABLE",
        `event ${eventId} is ${outcome.state}; only one that has ended can be tried again`,
        {
          details: { state: outcome.state },
        },
      );
    failpoint("cp.retry.committed");
    const { agentId, revision, expiresAtMs } = outcome.delivery;
    bell.ring(outcome.entry);
    onAccepted(expiresAtMs);
    log.info("Event tried again", { event_id: eventId, agent_id: agentId, state: "queued", revision, request_id: requestId });
    dispatcher.queued(agentId);
    return { revision };
  }

  /** Whichever way it came: nobody hands in what they may not. At once, but for who has a scope by labels. */
  #permit(principal: Principal, { targetAgent, type }: EventMeta): void | Promise<void> {
    return this.#options.permits.require(principal, "events:create", { agentId: targetAgent, eventType: type });
  }

  #ruleFor({ principal, idempotencyKey, makesIds, envelope }: IntakeSource): IdRule {
    if (idempotencyKey !== undefined) return { id: idOfKey(principal, idempotencyKey), only: true, envelope };
    if (envelope !== undefined) return { ...OWN_ID, envelope };
    return makesIds === true ? { id: this.#options.ports.ids.uuid(), only: false } : OWN_ID;
  }

  #timesOf(event: EventMeta): Times {
    const receivedAtMs = this.#options.ports.clock.now();
    const bornAtMs = Math.min(event.createdAtMs ?? receivedAtMs, receivedAtMs);
    if (event.notBeforeMs === undefined && event.delayMs === undefined)
      return { receivedAtMs, notBeforeMs: undefined, expiresAtMs: Math.round(bornAtMs + event.ttlMs) };
    if (event.notBeforeMs !== undefined && event.notBeforeMs - receivedAtMs > LIMITS.ttlMaxMs)
      throw new TransporterError("INVALID_TIMESTAMP", `not_before is more than ten years ahead (${formatTimestamp(event.notBeforeMs)})`, {
        details: { pointer: "/not_before" },
      });
    const startMs = Math.max(event.notBeforeMs ?? bornAtMs, event.delayMs === undefined ? bornAtMs : receivedAtMs + event.delayMs);
    return {
      receivedAtMs,
      // A moment that has passed already is no fault: the same event handed in again must get the same answer.
      notBeforeMs: startMs > receivedAtMs ? Math.ceil(startMs) : undefined,
      expiresAtMs: Math.round(Math.max(bornAtMs, startMs) + event.ttlMs),
    };
  }

  /** Counts an event as being written unless a bound may be reached. Cheap, and too strict at most. In one step: others come in between. */
  #enter(agentId: string): boolean {
    const { gauge, limits } = this.#options;
    if (!gauge.known || gauge.committing >= limits.committing || gauge.atMost(agentId) >= limits.queuedPerAgent) return false;
    gauge.entering(agentId);
    return true;
  }

  /** Only who is near a bound has to wait for the store's own count. Throws TOO_MANY_REQUESTS. */
  async #enterAfterLook(agentId: string): Promise<void> {
    const { gauge, limits } = this.#options;
    if (gauge.committing < limits.committing) await gauge.sample();
    if (this.#enter(agentId)) return;
    throw new TransporterError(
      "TOO_MANY_REQUESTS",
      gauge.committing >= limits.committing
        ? `${limits.committing} events are being written already`
        : `${limits.queuedPerAgent} events wait for agent ${agentId} already`,
    );
  }

  async #known(prepared: PreparedEvent, source: IntakeSource): Promise<IntakeResult | undefined> {
    const known = await this.#options.store.contentDigest(source.principal.tenant, prepared.event.id);
    if (known === undefined) return undefined;
    if (known.digest !== prepared.contentDigest) throw conflict(prepared.event.id);
    return { eventId: prepared.event.id, duplicate: true, state: known.state };
  }

  /** The event with a place at its agent, if there is one. Its commit is to be asked for in the same turn. */
  #placed(
    prepared: PreparedEvent,
    source: IntakeSource,
    times: Times,
  ): { readonly reservation: Reservation | undefined; readonly input: NewEvent } {
    const { reservation, message } = this.#place(prepared, times);
    return { reservation, input: this.#newEvent(prepared, source, times, reservation, message) };
  }

  #place(
    { event, encoded, payloadBytes }: PreparedEvent,
    times: Times,
  ): { readonly reservation: Reservation | undefined; readonly message: string } {
    if (times.notBeforeMs !== undefined)
      return { reservation: undefined, message: `Event waits until ${formatTimestamp(times.notBeforeMs)}` };
    const about = { priority: event.priority, inlineBytes: encoded === undefined ? payloadBytes : 0 };
    const place = this.#options.dispatcher.reserve(event, event.targetAgent, about);
    if ("reservation" in place) return { reservation: place.reservation, message: "Event routed to agent" };
    return { reservation: undefined, message: `Event waits: ${place.why}` };
  }

  /** A conflict without another event of this id: the payload was swept away between its writing and the commit. Writes it once more. */
  async #rewritten(input: NewEvent, encoded: EncodedPayload): Promise<boolean> {
    const { store } = this.#options;
    if ((await store.contentDigest(input.tenant, input.event.id)) !== undefined) return false;
    await store.savePayload(encoded);
    return true;
  }

  #accepted(input: NewEvent, state: State, prepared: PreparedEvent, source: IntakeSource): void {
    const { log, hasOthers, onAccepted } = this.#options;
    const { id, targetAgent, type } = input.event;
    log.info(source.via === "queue" ? "Received event via queue" : "Received event via HTTP", {
      event_id: id,
      agent_id: targetAgent,
      type,
      state,
      bytes: prepared.payloadBytes,
      request_id: source.requestId,
    });
    onAccepted(input.expiresAtMs);
    if (input.notBeforeMs !== undefined)
      log.info("Event waits for its time", {
        event_id: id,
        agent_id: targetAgent,
        state: "queued",
        not_before: formatTimestamp(input.notBeforeMs),
      });
    else if (state === "queued")
      log.info(hasOthers() ? "Event queued for its agent" : "Event queued for offline agent", {
        event_id: id,
        agent_id: targetAgent,
        state: "queued",
        why: input.message,
      });
  }

  #newEvent(prepared: PreparedEvent, source: IntakeSource, times: Times, reservation: Reservation | undefined, message: string): NewEvent {
    const { principal } = source;
    const { receivedAtMs } = times;
    const event = completed(prepared.event, source, receivedAtMs);
    return {
      tenant: principal.tenant,
      principal: principal.name,
      event,
      payloadText: prepared.payloadText,
      payloadDigest: prepared.payloadDigest,
      payloadBytes: prepared.payloadBytes,
      contentDigest: prepared.contentDigest,
      receivedAtMs,
      notBeforeMs: times.notBeforeMs,
      expiresAtMs: times.expiresAtMs,
      state: reservation === undefined ? "queued" : "assigned",
      epoch: reservation?.lane.session.epoch ?? 0,
      message,
      audit: {
        tenant: principal.tenant,
        atMs: receivedAtMs,
        principal: principal.name,
        action: source.via === "queue" ? "event_received" : "event_received_http",
        eventId: event.id,
        agentId: event.targetAgent,
        ...(event.createdBy === "" ? undefined : { user: event.createdBy }),
        ...(event.operation === undefined ? undefined : { details: { operation: event.operation } }),
        remoteAddress: source.remoteAddress,
        requestId: source.requestId,
      },
    };
  }

  /** Past its TTL at the door. An event that was accepted in time gets its old answer again; all else is refused. */
  async #overdue(prepared: PreparedEvent, source: IntakeSource, times: Times): Promise<IntakeResult> {
    const { event } = prepared;
    const digest = await this.#options.store.contentDigest(source.principal.tenant, event.id);
    if (digest?.digest === prepared.contentDigest) return { eventId: event.id, duplicate: true, state: digest.state };
    if (digest !== undefined && !isTerminal(digest.state)) throw conflict(event.id);
    const from =
      event.notBeforeMs === undefined ? `created_at ${event.createdAt ?? ""}` : `not_before ${formatTimestamp(event.notBeforeMs)}`;
    throw new TransporterError(
      "EVENT_EXPIRED",
      `event ${event.id} is expired: ${from} plus ttl ${formatDurationMs(event.ttlMs)} was ${formatDurationMs(times.receivedAtMs - times.expiresAtMs)} ago by this control plane's clock (${formatTimestamp(times.receivedAtMs)})`,
    );
  }
}

/** With what only the door knows. Most events bring it along, and a copy of each costs more than it seems. */
function completed(event: EventMeta, source: IntakeSource, receivedAtMs: number): EventMeta {
  const traceparent = source.traceparent !== undefined && TRACEPARENT.test(source.traceparent) ? source.traceparent : undefined;
  if (event.createdAt !== undefined && (event.traceparent ?? traceparent) === event.traceparent) return event;
  // An event without a time was made when it was received; kept, so that every delivery of it says the same.
  return { ...event, createdAt: event.createdAt ?? formatTimestamp(receivedAtMs), traceparent: event.traceparent ?? traceparent };
}

function payloadOf({ payloadText, encoded, payloadDigest, payloadBytes }: PreparedEvent): PayloadSource {
  if (encoded === undefined) return { text: payloadText ?? "{}" };
  return {
    apart: { digest: payloadDigest, bytes: payloadBytes, encoding: encoded.encoding, encoded_bytes: encoded.encoded.byteLength },
  };
}

function conflict(id: string): TransporterError {
  return new TransporterError("EVENT_CONFLICT", `event ${id} exists already with other content`);
}
