import { failpoint, TransporterError } from "../../kit/mod.ts";
import {
  AcceptedSchema,
  type Cancelled,
  CancelledSchema,
  CloudEventRefSchema,
  EventDetailSchema,
  type EventDetail,
  EventPageSchema,
  EventSchema,
  EventTypeSchema,
  NS_PER_MS,
  type Retried,
  RetriedSchema,
  StateSchema,
} from "../../protocol/mod.ts";
import type { StoredEvent } from "../../stores/mod.ts";
import type { IntakeResult, IntakeSource } from "../intake.ts";
import { wireRetry } from "../prepare.ts";
import type { CloudEnvelope } from "../cloud-envelope.ts";
import { withBody } from "./body.ts";
import { type Door, envelopeOf } from "./cloud-events.ts";
import type { HttpContext } from "./context.ts";
import { type Call, type Endpoint, hidden } from "./endpoint.ts";
import { withPayload } from "./payload-stream.ts";
import { Query } from "./query.ts";
import { streamEndpoints } from "./streams.ts";
import { onlyAgentOf, pageFor } from "./visible-page.ts";
import * as v from "valibot";

const LIST_PARAMETERS = {
  state: `One or more of ${StateSchema.options.join(", ")}, separated by commas.`,
  agent: "Events for this agent.",
  type: `One of ${EventTypeSchema.options.join(", ")}.`,
  label: "key=value; repeat it to ask for several, all of which must match.",
  created_by: "The claim of whoever made the event.",
  since: "Received at or after: an RFC 3339 time, or a duration such as 2h that counts back from now.",
  until: "Received before: as `since`.",
  limit: "How many at most, 1 to 500; 50 when absent.",
  cursor: "`next_cursor` of the page before.",
};

/** As it may be sent without an id. */
const SubmittedSchema = v.looseObject({ ...EventSchema.entries, id: v.nullish(v.string()) });
/** As it may be sent where it is the data of a CloudEvent in structured mode. */
const CloudEventSchema = v.looseObject({
  specversion: v.literal("1.0"),
  id: v.pipe(v.string(), v.nonEmpty()),
  source: v.pipe(v.string(), v.nonEmpty()),
  type: v.pipe(v.string(), v.nonEmpty()),
  subject: v.nullish(v.string()),
  time: v.nullish(v.string()),
  datacontenttype: v.nullish(v.string()),
  traceparent: v.nullish(v.string()),
  data: v.optional(SubmittedSchema),
  data_base64: v.nullish(v.string()),
});
const CLOUD_EVENT_BODY = { "application/cloudevents+json": CloudEventSchema };
const INTAKE_ERRORS = [
  "MISSING_EVENT_ID",
  "MISSING_TARGET_AGENT",
  "MISSING_EVENT_TYPE",
  "UNKNOWN_EVENT_TYPE",
  "EMPTY_MANIFESTS",
  "EMPTY_SCRIPT",
  "EMPTY_POLICY_RULES",
  "INVALID_EVENT",
  "INVALID_EVENT_ID",
  "INVALID_TTL",
  "INVALID_TIMESTAMP",
  "INVALID_IDEMPOTENCY_KEY",
  "EVENT_CONFLICT",
  "EVENT_EXPIRED",
  "INVALID_CLOUDEVENT",
  "UNSUPPORTED_MEDIA_TYPE",
  "TOO_MANY_REQUESTS",
  "SHUTTING_DOWN",
  "STORE_FULL",
  "STORE_UNAVAILABLE",
] as const;
const REPLAYED = { "idempotency-replayed": "true" };

/** Byte for byte 0.1's. */
function acceptedJson(eventId: string): string {
  return `{"event_id":${JSON.stringify(eventId)},"message":"Event routed to agent","status":"accepted"}`;
}

function locationOf(eventId: string): string {
  return `/v1/events/${encodeURIComponent(eventId)}`;
}

function missing(id: string, isThere = false): TransporterError {
  return hidden("EVENT_NOT_FOUND", `there is no event ${id}`, isThere);
}

function detailOf(stored: StoredEvent): EventDetail {
  const { event, result } = stored;
  const cloudEvent = v.safeParse(CloudEventRefSchema, event.extra["cloudevent"]);
  return {
    ...stored.summary,
    ttl: event.ttlNs,
    ...(event.deadlineMs === undefined ? {} : { deadline: Math.round(event.deadlineMs * NS_PER_MS) }),
    ...(event.retry === undefined ? {} : { retry: wireRetry(event.retry) }),
    ...(cloudEvent.success ? { cloudevent: cloudEvent.output } : {}),
    attempts: stored.attempts,
    log: [...stored.log],
    ...(result === undefined ? {} : { result }),
  };
}

function demandJson({ headers }: Request): void {
  const type = headers.get("content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";
  if (type !== "application/json")
    throw new TransporterError("UNSUPPORTED_MEDIA_TYPE", `content type ${JSON.stringify(type).slice(0, 80)} is not taken here`);
}

function sourceOf(call: Call): { -readonly [K in keyof IntakeSource]: IntakeSource[K] } {
  return {
    principal: call.principal,
    remoteAddress: call.remoteAddress,
    requestId: call.requestId,
    traceparent: call.request.headers.get("traceparent") ?? undefined,
    idempotencyKey: undefined,
    makesIds: false,
  };
}

export function eventEndpoints(context: HttpContext): Endpoint[] {
  const { store, intake, ports } = context;

  function submit(call: Call, door: Door, envelope: CloudEnvelope | undefined): Promise<IntakeResult> {
    // The intake looks at it: only there it is known whom the event is for.
    call.scopeSeen();
    if (context.isStopping()) throw new TransporterError("SHUTTING_DOWN", "the control plane is stopping and takes no new events");
    const source = sourceOf(call);
    source.idempotencyKey = call.request.headers.get("idempotency-key") ?? undefined;
    source.makesIds = door === "v1";
    source.envelope = envelope;
    return withBody(call.request, context.maxEventBytes, context.bodyBudget, (body) => intake.submit(body, source));
  }

  async function list(call: Call): Promise<Response> {
    const query = new Query(call.request.url, Object.keys(LIST_PARAMETERS));
    const nowMs = ports.clock.now();
    const { principal } = call;
    const types = principal.scope?.event_types ?? [];
    const states = query.choices("state", StateSchema.options);
    const named = query.text("agent");
    const type = query.choices("type", EventTypeSchema.options)?.[0] ?? (types.length === 1 ? types[0] : undefined);
    // Whoever names an agent is told that it is not theirs; nothing at all would look like nothing there.
    const some = type ?? types[0];
    if (named !== undefined) await call.permit({ agentId: named, ...(some === undefined ? {} : { eventType: some }) });
    const agentId = named ?? onlyAgentOf(principal);
    const labels = query.labels("label");
    const createdBy = query.text("created_by");
    const sinceMs = query.timeMs("since", nowMs);
    const untilMs = query.timeMs("until", nowMs);
    const wanted = {
      tenant: principal.tenant,
      ...(states === undefined ? {} : { states }),
      ...(agentId === undefined ? {} : { agentId }),
      ...(type === undefined ? {} : { type }),
      ...(labels === undefined ? {} : { labels }),
      ...(createdBy === undefined ? {} : { createdBy }),
      ...(sinceMs === undefined ? {} : { sinceMs }),
      ...(untilMs === undefined ? {} : { untilMs }),
    };
    const page = await pageFor(call, {
      limit: query.limit(),
      cursor: query.cursor(),
      fetch: (limit, cursor) => store.listEvents({ ...wanted, limit, ...(cursor === undefined ? {} : { cursor }) }),
      sees: (event) => call.sees({ agentId: event.target_agent, eventType: event.type }),
    });
    return Response.json({ items: page.items, ...(page.nextCursor === undefined ? {} : { next_cursor: page.nextCursor }) });
  }

  /** The event that the path names; one beyond the scope of whoever asks is not there for them. */
  async function found(call: Call, parts = { payload: false, log: false }): Promise<StoredEvent> {
    const stored = await store.getEvent(call.principal.tenant, call.param("id"), parts);
    if (stored === undefined || !(await call.sees({ agentId: stored.event.targetAgent, eventType: stored.event.type })))
      throw missing(call.param("id"), stored !== undefined);
    return stored;
  }

  async function show(call: Call): Promise<Response> {
    const wanted = new Query(call.request.url, ["payload"]).flag("payload");
    if (wanted) await call.require("events:read-payload");
    const stored = await found(call, { payload: wanted, log: true });
    const text = JSON.stringify(detailOf(stored));
    return new Response(stored.payload === undefined ? text : await withPayload(text, stored.payload, store), {
      headers: { "content-type": "application/json", "cache-control": "no-store" },
    });
  }

  async function cancel(call: Call): Promise<Response> {
    const id = call.param("id");
    const { principal, remoteAddress, requestId } = call;
    const { event } = await found(call);
    const nowMs = ports.clock.now();
    const outcome = await store.cancelEvent({
      tenant: principal.tenant,
      eventId: id,
      nowMs,
      message: `Event cancelled by ${principal.name}`,
      requestMessage: `Cancellation asked for by ${principal.name}; the agent stops at its next safe point`,
      audit: {
        tenant: principal.tenant,
        atMs: nowMs,
        principal: principal.name,
        action: "event_cancelled",
        eventId: id,
        agentId: event.targetAgent,
        remoteAddress,
        requestId,
      },
    });
    const answer = (status: Cancelled["status"]): Response =>
      Response.json({ event_id: id, status } satisfies Cancelled, { status: status === "cancelled" ? 200 : 202 });
    switch (outcome.kind) {
      case "missing":
        throw missing(id);
      case "refused":
        throw new TransporterError("EVENT_NOT_CANCELLABLE", `event ${id} is ${outcome.state} and can no longer be cancelled`, {
          details: { state: outcome.state },
        });
      case "requested":
        failpoint("cp.cancel.requested");
        context.bell.ring(outcome.entry);
        context.log.info("Event is being cancelled", { event_id: id, agent_id: outcome.agentId });
        context.dispatcher.recall(outcome.agentId, id, outcome.revision);
        return answer("cancelling");
      case "cancelled":
        context.bell.ring(outcome.entry);
        context.dispatcher.forget(outcome.agentId, id);
        context.log.info("Event cancelled", { event_id: id, agent_id: outcome.agentId, state: "cancelled" });
        return answer("cancelled");
      case "already":
        return answer("cancelled");
    }
  }

  async function retry(call: Call): Promise<Response> {
    if (context.isStopping()) throw new TransporterError("SHUTTING_DOWN", "the control plane is stopping and takes no new events");
    const id = call.param("id");
    const { event } = await found(call);
    const { revision } = await intake.retry(id, sourceOf(call), event.targetAgent);
    const answer: Retried = { event_id: id, revision, status: "accepted", message: `Event tried again as revision ${revision}` };
    return Response.json(answer, { status: 202, headers: { location: locationOf(id) } });
  }

  const accepted = {
    description: "Stored; from now on it ends as completed, failed, expired or cancelled.",
    schema: AcceptedSchema,
    headers: { "Idempotency-Replayed": "true where the same event was here before, whatever has become of it; nothing was done." },
  };
  const requestHeaders = {
    "Idempotency-Key":
      "For an event without an id: 1 to 255 visible ASCII characters. The same key with the same content is the same event and gets the same answer; with other content 409.",
    "ce-specversion":
      "`1.0`: the request is a CloudEvent in binary mode. Its other attributes come as `ce-` headers too, its data is the body.",
    "ce-id": "Of a CloudEvent in binary mode. Its source and id say which event it is, in the place of an id or a key.",
    "ce-source": "Of a CloudEvent in binary mode.",
    "ce-type": "Of a CloudEvent in binary mode.",
  };
  return [
    {
      method: "POST",
      path: "/events",
      access: "events:create",
      summary: "Hand in an event, as in 0.1: any content type. Also a CloudEvent, in structured or binary mode.",
      requestHeaders,
      body: EventSchema,
      otherBodies: CLOUD_EVENT_BODY,
      answers: { 202: accepted },
      errors: INTAKE_ERRORS,
      handler: async (call) => {
        const { eventId, duplicate } = await submit(call, "0.1", envelopeOf(call.request, call.principal.tenant, "0.1"));
        return call.reply(202, acceptedJson(eventId), duplicate ? REPLAYED : undefined);
      },
    },
    {
      method: "POST",
      path: "/v1/events",
      access: "events:create",
      summary:
        "Hand in an event. The same id with the same content gets the same answer; with other content 409. Without an id it is given one. Also a CloudEvent, in structured or binary mode.",
      requestHeaders,
      body: SubmittedSchema,
      otherBodies: CLOUD_EVENT_BODY,
      answers: { 202: accepted },
      errors: INTAKE_ERRORS,
      handler: async (call) => {
        const envelope = envelopeOf(call.request, call.principal.tenant, "v1");
        if (envelope === undefined) demandJson(call.request);
        const { eventId, duplicate } = await submit(call, "v1", envelope);
        return call.reply(202, acceptedJson(eventId), { location: locationOf(eventId), ...(duplicate ? REPLAYED : {}) });
      },
    },
    {
      method: "GET",
      path: "/v1/events",
      access: "events:read",
      summary: "List events, newest first.",
      query: LIST_PARAMETERS,
      answers: { 200: { description: "A page of events.", schema: EventPageSchema } },
      handler: list,
    },
    {
      method: "GET",
      path: "/v1/events/:id",
      access: "events:read",
      summary: "One event with its state, execution log and the result for each resource.",
      query: { payload: "true to have the payload too; it may hold Secrets." },
      answers: { 200: { description: "The event.", schema: EventDetailSchema } },
      errors: ["EVENT_NOT_FOUND"],
      handler: show,
    },
    {
      method: "DELETE",
      path: "/v1/events/:id",
      access: "events:cancel",
      summary: "Cancel an event: at once while it waits, at the next safe point where its agent has it.",
      answers: {
        200: { description: "It is cancelled, now or from before.", schema: CancelledSchema },
        202: { description: "Its agent is told; follow the event to its end.", schema: CancelledSchema },
      },
      errors: ["EVENT_NOT_FOUND", "EVENT_NOT_CANCELLABLE"],
      handler: cancel,
    },
    {
      method: "POST",
      path: "/v1/events/:id/retry",
      access: "events:retry",
      summary: "Try an event again that has ended: its next revision, with a full TTL from now.",
      answers: { 202: { description: "Stored; it goes the way of a new event.", schema: RetriedSchema } },
      errors: ["EVENT_NOT_FOUND", "EVENT_NOT_RETRYABLE", "TOO_MANY_REQUESTS", "SHUTTING_DOWN", "STORE_FULL", "STORE_UNAVAILABLE"],
      handler: retry,
    },
    ...streamEndpoints(context, found),
  ];
}
