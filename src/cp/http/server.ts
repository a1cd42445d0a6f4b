import { silentLogger, TransporterError } from "../../kit/mod.ts";
import { LIMITS } from "../../protocol/mod.ts";
import type { AgentDoor } from "../agent-door.ts";
import type { Gateway } from "../gateway.ts";
import { agentSockets, type SocketData } from "./agent-sockets.ts";
import { agentEndpoints } from "./agents.ts";
import type { HttpContext } from "./context.ts";
import { type Endpoint, type EndpointContext, notFound, toRoutes } from "./endpoint.ts";
import { eventEndpoints } from "./events.ts";
import { metaEndpoints } from "./meta.ts";
import { identityEndpoints } from "./identities.ts";
import { openApiDocument } from "./openapi.ts";
import { peopleEndpoints } from "./people.ts";
import { problemResponse } from "./problem.ts";
import { tokenEndpoints } from "./tokens.ts";

/** A socket that answers no ping for this long is gone. It is pinged 8 s before, so an agent that says nothing by itself is heard of. */
const SOCKET_IDLE_SECONDS = 28;

/** Every endpoint of the control plane, `/ws` and `/openapi.json` included. `door`: what agents have to show there; undefined: they are sent to their own listener. */
export function endpointsOf(context: HttpContext, door: AgentDoor | undefined, admit: Gateway["admit"] = () => undefined): Endpoint[] {
  const endpoints: Endpoint[] = [
    ...eventEndpoints(context),
    ...agentEndpoints(context),
    ...metaEndpoints(context),
    ...peopleEndpoints(context),
    ...tokenEndpoints(context),
    ...identityEndpoints(context),
  ];
  endpoints.push(wsEndpoint(context, door, admit));
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

/** Where agents' sockets come in. */
export function wsEndpoint(context: HttpContext, door: AgentDoor | undefined, admit: Gateway["admit"]): Endpoint {
  const { ports } = context;
  return {
    method: "GET",
    path: "/ws",
    access: "public",
    summary: "WebSocket upgrade for agents.",
    answers: { 101: { description: "The agent's registration is expected as the first frame.", mediaType: "application/json" } },
    errors: ["UPGRADE_REQUIRED", "ACCESS_DENIED", "SHUTTING_DOWN", "TOO_MANY_AGENTS"],
    handler: ({ request, server, requestId, remoteAddress }) => {
      if (door === undefined)
        throw new TransporterError("ACCESS_DENIED", "agents connect to the agents' listener, with their certificate", {
          remedy: "Give the agent the address of that listener (port 8443 unless it was chosen otherwise), or enrol it, which tells it.",
        });
      if (context.isDraining()) {
        const error = new TransporterError("SHUTTING_DOWN", "the control plane is stopping; connect to another");
        return problemResponse(error, requestId, silentLogger, { "retry-after": ports.random.float() < 0.5 ? "0" : "1" });
      }
      const later = admit(door);
      if (later !== undefined) {
        const error = new TransporterError(
          "TOO_MANY_AGENTS",
          "many agents are connecting at once; this one is to come again a little later",
        );
        // The gateway says how many were sent away.
        return problemResponse(error, requestId, silentLogger, { "retry-after": String(Math.ceil(later.retryAfterMs / 1000)) });
      }
      const data: SocketData = {
        arrival: { requestId, door, address: remoteAddress },
        peer: undefined,
        agent: undefined,
        heardMs: 0,
      };
      if (server.upgrade(request, { data })) return undefined;
      throw new TransporterError("UPGRADE_REQUIRED", "/ws takes WebSocket connections only");
    },
  };
}

/** All of a server but its address and its certificate. */
export function serving(context: HttpContext, endpoints: readonly Endpoint[], endpointContext: EndpointContext) {
  return {
    // Bodies are counted as they are read, so that too large ones get a problem with a code instead of a bare 413.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    routes: toRoutes(endpoints, endpointContext),
    fetch: notFound(endpointContext),
    error: (error: Error) => problemResponse(error, context.ports.ids.uuid(), context.log),
    websocket: {
      ...agentSockets(context.gateway, context.ports),
      maxPayloadLength: LIMITS.agentFrameBytes,
      idleTimeout: SOCKET_IDLE_SECONDS,
      sendPings: true,
      // One frame of any allowed size may be on its way; what follows waits in the bounded queue of its peer.
      backpressureLimit: context.maxEventBytes * 2 + LIMITS.registrationBytes,
      closeOnBackpressureLimit: true,
      perMessageDeflate: false,
    },
  };
}

export type Serving = ReturnType<typeof serving>;
