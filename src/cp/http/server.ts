import { silentLogger, TransporterError } from "../../kit/mod.ts";
import { LIMITS } from "../../protocol/mod.ts";
import type { GuardOptions } from "../../security/mod.ts";
import type { Gateway } from "../gateway.ts";
import { agentSockets, type SocketData } from "./agent-sockets.ts";
import { agentEndpoints } from "./agents.ts";
import type { HttpContext } from "./context.ts";
import { type Endpoint, type EndpointContext, notFound, toRoutes } from "./endpoint.ts";
import { eventEndpoints } from "./events.ts";
import { metaEndpoints } from "./meta.ts";
import { openApiDocument } from "./openapi.ts";
import { problemResponse } from "./problem.ts";

/** A socket that answers no ping for this long is gone. It is pinged 8 s before, so an agent that says nothing by itself is heard of. */
const SOCKET_IDLE_SECONDS = 28;

export interface ServerOptions {
  readonly host: string;
  readonly port: number;
  readonly guard: GuardOptions;
  readonly gateway: Gateway;
}

/** Every endpoint of the control plane, `/ws` and `/openapi.json` included. */
export function endpointsOf(context: HttpContext, admit: Gateway["admit"] = () => undefined): Endpoint[] {
  const { ports } = context;
  const endpoints: Endpoint[] = [...eventEndpoints(context), ...agentEndpoints(context), ...metaEndpoints(context)];
  endpoints.push({
    method: "GET",
    path: "/ws",
    access: "public",
    summary: "WebSocket upgrade for agents.",
    answers: { 101: { description: "The agent's registration is expected as the first frame.", mediaType: "application/json" } },
    handler: ({ request, server, requestId }) => {
      if (context.isDraining()) {
        const error = new TransporterError("SHUTTING_DOWN", "the control plane is stopping; connect to another");
        return problemResponse(error, requestId, silentLogger, { "retry-after": ports.random.float() < 0.5 ? "0" : "1" });
      }
      const later = admit();
      if (later !== undefined) {
        const error = new TransporterError(
          "TOO_MANY_AGENTS",
          "many agents are connecting at once; this one is to come again a little later",
        );
        // The gateway says how many were sent away.
        return problemResponse(error, requestId, silentLogger, { "retry-after": String(Math.ceil(later.retryAfterMs / 1000)) });
      }
      const data: SocketData = { requestId, peer: undefined, agent: undefined, heardMs: 0 };
      if (server.upgrade(request, { data })) return undefined;
      throw new TransporterError("UPGRADE_REQUIRED", "/ws takes WebSocket connections only");
    },
  });
  let document: string | undefined;
  endpoints.push({
    method: "GET",
    path: "/openapi.json",
    access: "public",
    summary: "This document.",
    answers: { 200: { description: "OpenAPI 3.1.", mediaType: "application/json" } },
    handler: () => {
      document ??= JSON.stringify(openApiDocument(endpoints, context.version.version), undefined, 2);
      return new Response(document, { headers: { "content-type": "application/json" } });
    },
  });
  return endpoints;
}

export function serveHttp(context: HttpContext, options: ServerOptions): Bun.Server<SocketData> {
  const { security } = context;
  const endpointContext: EndpointContext = {
    guard: options.guard,
    ports: context.ports,
    log: context.log,
    metrics: context.metrics,
    authenticate: security === undefined ? undefined : (credentials) => security.authenticator.authenticate(credentials),
    permits: context.permits,
    refusals: security?.refusals,
    https: security !== undefined,
  };
  return Bun.serve<SocketData>({
    hostname: options.host,
    port: options.port,
    // Bodies are counted as they are read, so that too large ones get a problem with a code instead of a bare 413.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    routes: toRoutes(
      endpointsOf(context, () => options.gateway.admit()),
      endpointContext,
    ),
    fetch: notFound(endpointContext),
    error: (error) => problemResponse(error, context.ports.ids.uuid(), context.log),
    websocket: {
      ...agentSockets(options.gateway, context.ports),
      maxPayloadLength: LIMITS.agentFrameBytes,
      idleTimeout: SOCKET_IDLE_SECONDS,
      sendPings: true,
      // One frame of any allowed size may be on its way; what follows waits in the bounded queue of its peer.
      backpressureLimit: context.maxEventBytes * 2 + LIMITS.registrationBytes,
      closeOnBackpressureLimit: true,
      perMessageDeflate: false,
    },
  });
}
