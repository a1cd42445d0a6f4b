import type { BunRequest, Server } from "bun";
import type { GenericSchema } from "valibot";
import { type Logger, type Ports, TransporterError } from "../../kit/mod.ts";
import type { Metrics } from "../../metrics/mod.ts";
import type { ErrorCode } from "../../protocol/mod.ts";
import {
  type Access,
  type Action,
  ACTIONS,
  ANONYMOUS,
  type Authenticator,
  type Credentials,
  demand,
  guardBrowser,
  type GuardOptions,
  isScoped,
  NOBODY,
  type Origin,
  type Principal,
  type Security,
  type Target,
} from "../../security/mod.ts";
import type { Permits } from "../permits.ts";
import type { SocketData } from "./agent-sockets.ts";
import { problemResponse } from "./problem.ts";

/** One request on its way through a handler. */
export interface Call {
  readonly request: BunRequest;
  readonly server: Server<SocketData>;
  readonly requestId: string;
  /** Who asks. At a public endpoint of a control plane that is secured: NOBODY, until something is required. */
  readonly principal: Principal;
  /** As far as a proxy that is trusted tells it. */
  readonly remoteAddress: string;
  /** For the audit. */
  readonly origin: Origin;
  /** What depends on more than the endpoint: throws UNAUTHENTICATED or ACCESS_DENIED unless whoever asks may do this too. */
  require(action: Action): void | Promise<void>;
  /** Throws ACCESS_DENIED for what lies beyond the scope of whoever asks. An endpoint over agents has to call this, or one of the two below. */
  permit(target: Target): void | Promise<void>;
  /** Whether the scope has it: for lists, and for what does not exist for those who may not see it. */
  sees(target: Target): boolean | Promise<boolean>;
  /** The scope was looked at further in. */
  scopeSeen(): void;
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
  /** Who may call it at all. */
  readonly access: Access;
  readonly handler: Handler;
  readonly query?: Readonly<Record<string, string>>;
  /** Headers of the request that mean something here. */
  readonly requestHeaders?: Readonly<Record<string, string>>;
  readonly body?: GenericSchema;
  /** The body in other media types than JSON, by media type. */
  readonly otherBodies?: Readonly<Record<string, GenericSchema>>;
  readonly answers: Readonly<Record<number, Answer>>;
  /** What it refuses with, beside what every endpoint of its kind does. */
  readonly errors?: readonly ErrorCode[];
}

export interface EndpointContext {
  readonly guard: GuardOptions;
  readonly ports: Ports;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Who asks at this listener; undefined: nobody is asked who they are, and everybody may do everything. */
  readonly authenticate: Authenticator["authenticate"] | undefined;
  readonly permits: Permits;
  /** Where refusals are told; undefined where nothing is refused for who asks. */
  readonly refusals: Security["refusals"] | undefined;
  /** Where a request really comes from, by what a trusted proxy says; the socket's own address where it is absent. */
  readonly addressOf?: (request: Request, peer: string) => string;
  /** Throws for what did not come as this listener wants it, before anything else of the request is looked at. */
  readonly gate?: (request: Request, peer: string) => void;
  /** Browsers are to come by TLS only from now on. */
  readonly https: boolean;
}

/** As `Response.json` writes it. */
const JSON_TYPE = "application/json;charset=utf-8";
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;
/** Answers are for whoever asked, are not to be kept, and are no pages: nothing in them may run, load or be framed. */
const USUAL_HEADERS = {
  "x-content-type-options": "nosniff",
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
};
/** Two years. */
const HTTPS_HEADERS = { ...USUAL_HEADERS, "strict-transport-security": "max-age=63072000" };

const HIDDEN = "hidden";

/** What is there and looks as if it were not, for whoever may not see it; it is a refusal all the same, for the audit. */
export function hidden(code: ErrorCode, message: string, isThere: boolean): TransporterError {
  return new TransporterError(code, message, isThere ? { details: { [HIDDEN]: true } } : {});
}

type UsualHeaders = Readonly<Record<string, string>>;

/** What GET would answer, less its body, which is given up so that a live stream does not go on for nobody. */
async function withoutBody(response: Response): Promise<Response> {
  await response.body?.cancel();
  return new Response(null, { status: response.status, headers: response.headers });
}

type BunHandler = (request: BunRequest, server: Server<SocketData>) => Promise<Response | undefined>;

/** A class, so that a request makes one object and no functions. */
class OneCall implements Call, Credentials {
  readonly request: BunRequest;
  readonly server: Server<SocketData>;
  readonly requestId: string;
  readonly #context: EndpointContext;
  readonly #access: Access;
  readonly #usualHeaders: UsualHeaders;
  principal: Principal;
  /** The scope of whoever asks was looked at, or there is none. */
  isScopeSeen = false;
  /** What `reply` made: it has every header already. */
  complete: Response | undefined;

  constructor(
    request: BunRequest,
    server: Server<SocketData>,
    requestId: string,
    access: Access,
    context: EndpointContext,
    usualHeaders: UsualHeaders,
  ) {
    this.request = request;
    this.server = server;
    this.requestId = requestId;
    this.#access = access;
    this.#context = context;
    this.#usualHeaders = usualHeaders;
    this.principal = context.authenticate === undefined ? ANONYMOUS : NOBODY;
  }

  get method(): string {
    return this.request.method;
  }

  get authorization(): string | null {
    return this.request.headers.get("authorization");
  }

  get cookie(): string | null {
    return this.request.headers.get("cookie");
  }

  get csrf(): string | null {
    return this.request.headers.get("x-csrf-token");
  }

  get address(): string {
    return this.remoteAddress;
  }

  get remoteAddress(): string {
    const peer = this.server.requestIP(this.request)?.address ?? "";
    const { addressOf } = this.#context;
    return addressOf === undefined ? peer : addressOf(this.request, peer);
  }

  get origin(): Origin {
    return { address: this.remoteAddress, requestId: this.requestId };
  }

  param(name: string): string {
    return (this.request.params as Record<string, string | undefined>)[name] ?? "";
  }

  reply(status: number, json: string, more?: Readonly<Record<string, string>>): Response {
    const headers = { "content-type": JSON_TYPE, "x-request-id": this.requestId, ...this.#usualHeaders };
    this.complete = new Response(json, { status, headers: more === undefined ? headers : { ...headers, ...more } });
    return this.complete;
  }

  /** Finds out who asks, and whether the endpoint is for them. At once, where they are known. */
  enter(): void | Promise<void> {
    const { authenticate } = this.#context;
    const access = this.#access;
    if (authenticate === undefined || access === "public") return;
    const principal = authenticate(this);
    if (principal instanceof Promise) return principal.then((one) => this.#entered(one, access));
    this.#entered(principal, access);
  }

  #entered(principal: Principal, access: Exclude<Access, "public">): void {
    this.principal = principal;
    if (access !== "authenticated") demand(principal, access);
  }

  require(action: Action): void | Promise<void> {
    const { authenticate } = this.#context;
    if (authenticate === undefined) return;
    if (this.principal !== NOBODY) {
      demand(this.principal, action);
      return;
    }
    const principal = authenticate(this);
    if (principal instanceof Promise) return principal.then((one) => this.#entered(one, action));
    this.#entered(principal, action);
  }

  permit(target: Target): void | Promise<void> {
    this.isScopeSeen = true;
    return this.#context.permits.require(this.principal, this.#action, target);
  }

  sees(target: Target): boolean | Promise<boolean> {
    this.isScopeSeen = true;
    return this.#context.permits.sees(this.principal, this.#action, target);
  }

  scopeSeen(): void {
    this.isScopeSeen = true;
  }

  get #action(): Action {
    if (this.#access === "public" || this.#access === "authenticated")
      throw new TransporterError("INTERNAL", "a scope was looked at where the endpoint is about no action");
    return this.#access;
  }

  /** An answer to somebody with a scope, to whom the scope made no difference, would be one that forgot it. */
  get forgotScope(): boolean {
    if (this.isScopeSeen || !isScoped(this.principal.scope)) return false;
    const access = this.#access;
    return access !== "public" && access !== "authenticated" && ACTIONS[access].over === "agents";
  }
}

/** Turns endpoints into Bun's routes: request id, guard, who asks, method, errors as problem+json, metrics. One function per path. */
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
  const byMethod = new Map<string, Endpoint>();
  for (const endpoint of endpoints) {
    byMethod.set(endpoint.method, endpoint);
    if (endpoint.method === "GET") byMethod.set("HEAD", endpoint);
  }
  const allow = [...byMethod.keys()].toSorted().join(", ");
  const { clock, ids } = context.ports;
  const usualHeaders: UsualHeaders = context.https ? HTTPS_HEADERS : USUAL_HEADERS;
  const laterHeaders = Object.entries(usualHeaders);
  /** The Host header that passed last: nearly every request has the same, and none of what only a browser sends. */
  let usualHost: string | undefined;
  const guard = (headers: Headers): void => {
    const host = headers.get("host");
    const usual = headers.get("origin") === null && headers.get("sec-fetch-site") === null;
    if (usual && host !== null && host === usualHost) return;
    guardBrowser(headers, context.guard);
    if (usual && host !== null) usualHost = host;
  };
  /** Answers undefined when the request has become a WebSocket. */
  const answer = async (endpoint: Endpoint, call: OneCall): Promise<Response | undefined> => {
    const entering = call.enter();
    if (entering instanceof Promise) await entering;
    const handled = endpoint.handler(call);
    const response = handled instanceof Promise ? await handled : handled;
    if (response === undefined) return undefined;
    if (call.forgotScope && response.ok) {
      await response.body?.cancel();
      throw new TransporterError("INTERNAL", `${endpoint.method} ${path} did not look at the scope of ${call.principal.name}`);
    }
    return call.method === "HEAD" ? withoutBody(response) : response;
  };
  return async (request, server) => {
    const startedMs = clock.monotonic();
    const { headers, method } = request;
    const given = headers.get("x-request-id");
    const requestId = given !== null && REQUEST_ID.test(given) ? given : ids.uuid();
    let response: Response | undefined;
    let call: OneCall | undefined;
    try {
      context.gate?.(request, server.requestIP(request)?.address ?? "");
      guard(headers);
      const endpoint = byMethod.get(method);
      if (endpoint !== undefined) {
        call = new OneCall(request, server, requestId, endpoint.access, context, usualHeaders);
        response = await answer(endpoint, call);
        if (response === undefined) return undefined;
      } else if (endpoints.length === 0) {
        throw new TransporterError("NOT_FOUND", `nothing is served at ${new URL(request.url).pathname.slice(0, 200)}`);
      } else {
        const error = new TransporterError("METHOD_NOT_ALLOWED", `${path} does not take ${method.slice(0, 20)}; it takes ${allow}`);
        response = problemResponse(error, requestId, context.log, { allow });
      }
    } catch (error) {
      if (call !== undefined) noteRefusal(error, call, path, context);
      response = problemResponse(error, requestId, context.log);
    }
    if (response !== call?.complete) {
      response.headers.set("x-request-id", requestId);
      for (const [name, value] of laterHeaders) response.headers.set(name, value);
    }
    context.metrics.http(path, method, response.status, (clock.monotonic() - startedMs) / 1000);
    return response;
  };
}

/** Whoever is known and asks for more than they may stands in the audit; what else is refused was written down where it was refused. */
function noteRefusal(error: unknown, call: OneCall, path: string, { refusals }: EndpointContext): void {
  if (refusals === undefined || call.principal === NOBODY || !(error instanceof TransporterError)) return;
  if (error.code !== "ACCESS_DENIED" && error.details[HIDDEN] !== true) return;
  void refusals.note({
    action: "access_refused",
    code: error.code,
    address: call.remoteAddress,
    requestId: call.requestId,
    principal: call.principal.name,
    details: { request: `${call.method} ${path}`, reason: error.message },
  });
}
