import { TransporterError } from "../../kit/mod.ts";
import { isTerminal, type LogEntry } from "../../protocol/mod.ts";
import { isScoped } from "../../security/mod.ts";
import type { StoredEvent } from "../../stores/mod.ts";
import type { HttpContext } from "./context.ts";
import type { Call, Endpoint } from "./endpoint.ts";
import { liveStream } from "./live.ts";
import { Query } from "./query.ts";
import { stand } from "./standing.ts";

const FORMATS = ["cloudevents"] as const;

/** `Last-Event-ID` of a client that comes back, as a sequence number. */
function lastEventId(request: Request): number | undefined {
  const value = request.headers.get("last-event-id");
  if (value === null || value === "") return undefined;
  if (!/^\d{1,15}$/.test(value))
    throw new TransporterError("INVALID_QUERY", `Last-Event-ID ${JSON.stringify(value.slice(0, 40))} is not one of ours`);
  return Number(value);
}

function streamResponse(body: ReadableStream<Uint8Array>): Response {
  return new Response(body, { headers: { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" } });
}

/** The live streams. `found` answers the event that the path names, or throws. */
export function streamEndpoints(context: HttpContext, found: (call: Call) => Promise<StoredEvent>): Endpoint[] {
  const { store, ports, permits, bell, isStopping, cloudEvents } = context;

  /** What both streams have in common; throws INVALID_QUERY. */
  function wanted({ principal, request }: Call) {
    const format = new Query(request.url, ["format"]).choices("format", FORMATS);
    return {
      store,
      bell,
      ports,
      isStopping,
      tenant: principal.tenant,
      signal: request.signal,
      ...(format === undefined ? {} : { tell: (entry: LogEntry) => cloudEvents.status(entry) }),
    };
  }

  async function followOne(call: Call): Promise<Response> {
    const common = wanted(call);
    const stored = await found(call);
    call.server.timeout(call.request, 0);
    return streamResponse(
      liveStream({
        ...common,
        eventId: call.param("id"),
        afterSeq: lastEventId(call.request) ?? 0,
        revision: stored.delivery.revision,
        finished: isTerminal(stored.delivery.state),
        standing: stand(call.principal, context),
        forgets: store.info.shared,
      }),
    );
  }

  async function followAll(call: Call): Promise<Response> {
    const { principal } = call;
    const common = wanted(call);
    const afterSeq = lastEventId(call.request) ?? (await store.lastSeq());
    call.scopeSeen();
    call.server.timeout(call.request, 0);
    return streamResponse(
      liveStream({
        ...common,
        eventId: undefined,
        afterSeq,
        revision: 0,
        finished: false,
        standing: stand(principal, context),
        ...(isScoped(principal.scope)
          ? { sees: (entry) => permits.seesEvent(principal, "events:read", entry.agent_id, entry.event_id) }
          : {}),
      }),
    );
  }

  const query = { format: "`cloudevents`: each entry as a CloudEvent 1.0, as `--publish status` has it. Without it: the entry itself." };
  const requestHeaders = { "Last-Event-ID": "The `id` of the last entry that was seen; what came after it is sent first." };
  return [
    {
      method: "GET",
      path: "/v1/events/:id/stream",
      access: "events:read",
      summary: "Follow one event from its beginning, or from Last-Event-ID, to its end.",
      query,
      requestHeaders,
      errors: ["EVENT_NOT_FOUND"],
      answers: {
        200: {
          description: "Server-sent events: `status` with a log entry as data, `end` after the last.",
          mediaType: "text/event-stream",
        },
      },
      handler: followOne,
    },
    {
      method: "GET",
      path: "/v1/stream",
      access: "events:read",
      summary: "Follow all events from now, or from Last-Event-ID.",
      query,
      requestHeaders,
      answers: { 200: { description: "Server-sent events: `status` with a log entry as data.", mediaType: "text/event-stream" } },
      handler: followAll,
    },
  ];
}
