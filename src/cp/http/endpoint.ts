import type { BunRequest, Server } from "bun";
import type { GenericSchema } from "valibot";
import { type Logger, type Ports, TransporterError } from "../../kit/mod.ts";
import type { Metrics } from "../../metrics/mod.ts";
import { ANONYMOUS, guardBrowser, type GuardOptions, type Principal } from "../../security/mod.ts";
import type { SocketData } from "./agent-sockets.ts";
import { problemResponse } from "./problem.ts";

/** One request on its way through a handler. */
export interface Call {
  readonly request: BunRequest;
  readonly server: Server<SocketData>;
  readonly requestId: string;
  readonly principal: Principal;
  readonly remoteAddress: string;
  /** A path parameter, decoded. */
  param(name: string): string;
  /** An answer whose headers are all given at once: each that is added later costs more than all of these. For the hot path. */
  reply(status: number, json: string, headers?: Readonly<Record<string, string>>): Response;
}

/** Answers undefined when the request has become a WebSocket. */
export type Handler = (call: Call) => Response | undefined | Promise<Response | undefined>;

export type Method = "GET" | "POST" | "DELETE";

export interface Answer {
  readonly description: string;
  readonly schema?: GenericSchema;
  readonly mediaType?: string;
  /** Headers worth knowing, by name, with what they say. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** One method of one path: what serves it and what the OpenAPI document says of it, side by side so that neither forgets the other. */
export interface Endpoint {
  readonly method: Method;
  /** Bun's pattern: `/v1/events/:id`. */
  readonly path: string;
  readonly summary: string;
  readonly handler: Handler;
  readonly query?: Readonly<Record<string, string>>;
  /** Headers of the request that mean something here. */
  readonly requestHeaders?: Readonly<Record<string, string>>;
  readonly body?: GenericSchema;
  readonly answers: Readonly<Record<number, Answer>>;
}

export interface EndpointContext {
  readonly guard: GuardOptions;
  readonly ports: Ports;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** As `Response.json` writes it. */
const JSON_TYPE = "application/json;charset=utf-8";
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;

/** What GET would answer, less its body, which is given up so that a live stream does not go on for nobody. */
async function withoutBody(response: Response): Promise<Response> {
  await response.body?.cancel();
  return new Response(null, { status: response.status, headers: response.headers });
}

type BunHandler = (request: BunRequest, server: Server<SocketData>) => Promise<Response | undefined>;

/** A class, so that a request makes one object and no functions. */
class OneCall implements Call {
  readonly request: BunRequest;
  readonly server: Server<SocketData>;
  readonly requestId: string;
  readonly principal = ANONYMOUS;
  /** What `reply` made: it has every header already. */
  complete: Response | undefined;

  constructor(request: BunRequest, server: Server<SocketData>, requestId: string) {
    this.request = request;
    this.server = server;
    this.requestId = requestId;
  }

  get remoteAddress(): string {
    return this.server.requestIP(this.request)?.address ?? "";
  }

  param(name: string): string {
    return (this.request.params as Record<string, string | undefined>)[name] ?? "";
  }

  reply(status: number, json: string, more?: Readonly<Record<string, string>>): Response {
    const headers = { "content-type": JSON_TYPE, "x-request-id": this.requestId, "x-content-type-options": "nosniff" };
    this.complete = new Response(json, { status, headers: more === undefined ? headers : { ...headers, ...more } });
    return this.complete;
  }
}

/** Turns endpoints into Bun's routes: request id, guard, method, errors as problem+json, metrics. One function per path. */
export function toRoutes(endpoints: readonly Endpoint[], context: EndpointContext): Record<string, BunHandler> {
  const byPath = new Map<string, Endpoint[]>();
  for (const endpoint of endpoints) byPath.set(endpoint.path, [...(byPath.get(endpoint.path) ?? []), endpoint]);
  const routes: Record<string, BunHandler> = {};
  for (const [path, ofPath] of byPath) routes[path] = serve(path, ofPath, context);
  return routes;
}

/** What answers paths that no endpoint has. */
export function notFound(context: EndpointContext): BunHandler {
  return serve("*", [], context);
}

function serve(path: string, endpoints: readonly Endpoint[], context: EndpointContext): BunHandler {
  const handlers = new Map<string, Handler>();
  for (const { method, handler } of endpoints) {
    handlers.set(method, handler);
    if (method === "GET") handlers.set("HEAD", handler);
  }
  const allow = [...handlers.keys()].toSorted().join(", ");
  const { clock, ids } = context.ports;
  /** The Host header that passed last: nearly every request has the same, and none of what only a browser sends. */
  let usualHost: string | undefined;
  const guard = (headers: Headers): void => {
    const host = headers.get("host");
    const usual = headers.get("origin") === null && headers.get("sec-fetch-site") === null;
    if (usual && host !== null && host === usualHost) return;
    guardBrowser(headers, context.guard);
    if (usual && host !== null) usualHost = host;
  };
  return async (request, server) => {
    const startedMs = clock.monotonic();
    const { headers, method } = request;
    const given = headers.get("x-request-id");
    const requestId = given !== null && REQUEST_ID.test(given) ? given : ids.uuid();
    let response: Response | undefined;
    let call: OneCall | undefined;
    try {
      guard(headers);
      const handler = handlers.get(method);
      if (handler !== undefined) {
        call = new OneCall(request, server, requestId);
        const answer = handler(call);
        response = answer instanceof Promise ? await answer : answer;
        if (response === undefined) return undefined;
        if (method === "HEAD") response = await withoutBody(response);
      } else if (endpoints.length === 0) {
        throw new TransporterError("NOT_FOUND", `nothing is served at ${new URL(request.url).pathname.slice(0, 200)}`);
      } else {
        const error = new TransporterError("METHOD_NOT_ALLOWED", `${path} does not take ${method.slice(0, 20)}; it takes ${allow}`);
        response = problemResponse(error, requestId, context.log, { allow });
      }
    } catch (error) {
      response = problemResponse(error, requestId, context.log);
    }
    if (response !== call?.complete) {
      response.headers.set("x-request-id", requestId);
      response.headers.set("x-content-type-options", "nosniff");
    }
    context.metrics.http(path, method, response.status, (clock.monotonic() - startedMs) / 1000);
    return response;
  };
}
