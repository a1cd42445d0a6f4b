import { Backoff, TransporterError, type Logger, type Ports } from "../../kit/mod.ts";
import type { ActingIdentity } from "../../protocol/mod.ts";
import type { KubeAccess } from "../access/access.ts";
import { identityKey, impersonationLines } from "../access/impersonation.ts";
import { Discovery } from "./discovery.ts";
import { parseRecord, textOf } from "./json.ts";
import { Limiter } from "./limiter.ts";
import { Pace } from "./pace.ts";
import { OpenApi, SchemaDocuments } from "./openapi.ts";
import { Readyz } from "./readyz.ts";
import { retryAfterMs } from "./retry-after.ts";
import { AttemptFailed, Transport, type KubeAnswer, type KubeRequest } from "./transport.ts";

export interface KubeClientOptions {
  readonly ports: Ports;
  readonly log: Logger;
  /** Requests in flight at a time, watches not counted. */
  readonly maxInFlight?: number;
  readonly userAgent?: string;
  /** Of one attempt. Slow admission webhooks may take 30 s each. */
  readonly requestTimeoutMs?: number;
  /** How long one request is tried again before it ends in KUBE_UNAVAILABLE: a hiccup fits in. What lasts longer is for whoever asked. */
  readonly retryBudgetMs?: number;
}

/** What the verbs of this room need of a cluster. */
export interface KubeClient {
  readonly access: KubeAccess;
  readonly ports: Ports;
  readonly log: Logger;
  readonly maxInFlight: number;
  readonly discovery: Discovery;
  readonly openApi: OpenApi;
  /** For whom the API server takes the requests, where not for the owner of the credentials. */
  readonly identity: ActingIdentity | undefined;
  /**
   * The same cluster as somebody else sees it: every request, discovery and watches included, carries who that is, and whether it may be is the API
   * server's to judge. Throws INVALID_EVENT where a name cannot be said in a request, and FORBIDDEN where the kubeconfig itself acts as somebody.
   */
  as(identity: ActingIdentity): KubeClient;
  /**
   * Sends one request and resolves to the answer, whatever its status says, except where waiting helps: throttled (429), overloaded (503)
   * and unreachable are tried again as told, 401 once with fresh credentials, 403 once the API server is ready if it was not.
   * Throws KUBE_UNAVAILABLE (`details.retry_after_ms` where the server asked for more patience than there is, `details.maybe_done` where the
   * request may have arrived), KUBE_UNAUTHORIZED, KUBE_CONFIG_INVALID (untrusted certificate), or the signal's reason.
   */
  send(request: KubeRequest): Promise<KubeAnswer>;
  /** Opens a stream; one attempt. `abort` ends it. Throws as `send`, without trying again. */
  open(request: KubeRequest, abort: AbortController): Promise<Response>;
}

/** Measured: with fewer the API server and its etcd pay more for each object, with more they gain little. */
const DEFAULT_IN_FLIGHT = 32;
/** Watches at a time: together with the requests far below the runtime's 256. */
const MAX_STREAMS = 64;
const OPEN_TIMEOUT_MS = 30_000;
const DEFAULT_RETRY_BUDGET_MS = 15_000;
/** Identities whose discovery is kept. */
const MAX_IDENTITIES = 8;

/**
 * 429 and 503 were not carried out; 504 and 500 with a time to wait may have been, so only what may reach the server twice is sent again. A
 * webhook that cannot be called is no hiccup of the server's: whoever asked decides whether that is tried again.
 */
function isTransient(answer: KubeAnswer, repeatable: boolean): boolean {
  if (answer.status === 429 || answer.status === 503) return true;
  if (!repeatable || /failed calling webhook/i.test(answer.text)) return false;
  if (answer.status === 504 || answer.status === 502) return true;
  return answer.status === 500 && (retryAfterMs(answer) !== undefined || /etcdserver|leader changed|connection refused/i.test(answer.text));
}

/** What the clients of one cluster have in common, whoever they are. */
class Shared {
  readonly limiter: Limiter;
  readonly streams = new Limiter(MAX_STREAMS);
  readonly documents = new SchemaDocuments();
  /** Asked as whoever the credentials are of: one that may not be impersonated is refused that question, too. */
  readonly readyz: Readyz;
  readonly #clients = new Map<string, KubeClient>();

  constructor(size: number, readyz: Readyz) {
    this.limiter = new Limiter(size);
    this.readyz = readyz;
  }

  /** The client of this identity; the one that was used least recently makes room for a new one. */
  clientOf(identity: ActingIdentity, make: () => KubeClient): KubeClient {
    const key = identityKey(identity);
    const client = this.#clients.get(key) ?? make();
    this.#clients.delete(key);
    this.#clients.set(key, client);
    for (const oldest of this.#clients.keys()) {
      if (this.#clients.size <= MAX_IDENTITIES) break;
      this.#clients.delete(oldest);
    }
    return client;
  }
}

class HttpKubeClient implements KubeClient {
  readonly access: KubeAccess;
  readonly ports: Ports;
  readonly log: Logger;
  readonly maxInFlight: number;
  readonly discovery: Discovery;
  readonly openApi: OpenApi;
  readonly identity: ActingIdentity | undefined;
  readonly #options: KubeClientOptions;
  readonly #shared: Shared;
  readonly #transport: Transport;
  readonly #pace: Pace;
  readonly #requestTimeoutMs: number;
  readonly #retryBudgetMs: number;

  constructor(access: KubeAccess, options: KubeClientOptions, identity: ActingIdentity | undefined, shared?: Shared) {
    this.access = access;
    this.ports = options.ports;
    this.log = options.log;
    this.identity = identity;
    this.#options = options;
    this.maxInFlight = Math.min(128, Math.max(1, options.maxInFlight ?? DEFAULT_IN_FLIGHT));
    this.#shared = shared ?? new Shared(this.maxInFlight, new Readyz((request) => this.#attempt(request), options.ports));
    const lines = identity === undefined ? [] : impersonationLines(identity);
    this.#transport = new Transport(access, options.ports, options.userAgent ?? "transporter", lines);
    this.#requestTimeoutMs = options.requestTimeoutMs ?? 60_000;
    this.#retryBudgetMs = options.retryBudgetMs ?? DEFAULT_RETRY_BUDGET_MS;
    this.#pace = new Pace(this.maxInFlight, options.ports.clock);
    this.discovery = new Discovery(this);
    this.openApi = new OpenApi(this, this.#shared.documents);
  }

  as(identity: ActingIdentity): KubeClient {
    const own = this.access.identity;
    // The API server knows one identity beside the credentials': this one would take the place of what the operator chose.
    if (own !== undefined)
      throw new TransporterError(
        "FORBIDDEN",
        `this agent acts as ${JSON.stringify(own.user)} by its own kubeconfig (${this.access.source}), and cannot act as ${JSON.stringify(identity.user)}`,
        { remedy: "Take `as` out of the agent's kubeconfig, or send events without service_account and impersonate." },
      );
    return this.#shared.clientOf(identity, () => new HttpKubeClient(this.access, this.#options, identity, this.#shared));
  }

  async send(request: KubeRequest): Promise<KubeAnswer> {
    const { clock, timers, random } = this.ports;
    const repeatable = request.repeatable ?? request.method === "GET";
    const startedAt = clock.monotonic();
    const queued = { ms: 0 };
    const backoff = new Backoff({ firstMs: 200, maxMs: 5_000 }, random);
    let renewed = false;
    let doubted = false;
    let sentBefore = false;
    for (;;) {
      const left = this.#retryBudgetMs - (clock.monotonic() - startedAt - queued.ms);
      let waitMs: number;
      let why: string;
      const sentAt = clock.monotonic();
      try {
        const answer = await this.#attempt(request, queued);
        if (answer.status === 401) {
          if (renewed) throw this.#unauthorized(answer);
          renewed = true;
          this.access.reload();
          continue;
        }
        if (!doubted && this.#shared.readyz.isDoubtful(answer, sentAt)) {
          doubted = true;
          await this.#shared.readyz.wait(request.signal);
          continue;
        }
        if (!isTransient(answer, repeatable)) return sentBefore ? { ...answer, sentBefore } : answer;
        sentBefore ||= answer.status !== 429 && answer.status !== 503;
        why = textOf(parseRecord(answer.text)["message"]) ?? `HTTP ${answer.status}`;
        // Jitter over the asked time, so that those who were throttled together do not come back together.
        const askedMs = retryAfterMs(answer);
        waitMs = (askedMs ?? 0) + backoff.next();
        if (waitMs >= left) return answer.status === 500 ? answer : this.#giveUp(why, undefined, askedMs, sentBefore);
      } catch (error) {
        if (!(error instanceof AttemptFailed)) throw error;
        if (error.fatal)
          throw new TransporterError("KUBE_CONFIG_INVALID", `the API server at ${this.access.server}: ${error.message}`, {
            cause: error,
            remedy: `Correct the certificate authority or the server name in ${this.access.source}.`,
          });
        this.#shared.readyz.doubt();
        doubted = false;
        sentBefore ||= !error.unsent;
        why = error.message;
        waitMs = backoff.next();
        if (!repeatable || waitMs >= left) this.#giveUp(why, error, undefined, sentBefore);
      }
      this.log.debug("API server asked to wait", { path: request.path.split("?")[0], wait_ms: Math.round(waitMs), why });
      await timers.sleep(waitMs, request.signal);
    }
  }

  async open(request: KubeRequest, abort: AbortController): Promise<Response> {
    const release = await this.#shared.streams.acquire(request.signal);
    abort.signal.addEventListener("abort", release, { once: true });
    try {
      const response = await this.#transport.open(request, abort, OPEN_TIMEOUT_MS);
      if (response.status === 401) this.access.reload();
      return response;
    } catch (error) {
      release();
      if (error instanceof AttemptFailed) this.#giveUp(error.message, error);
      throw error;
    }
  }

  /** `queued` counts the time in which the request only waited for its place. */
  async #attempt(request: KubeRequest, queued: { ms: number } = { ms: 0 }): Promise<KubeAnswer> {
    const { clock } = this.ports;
    const arrivedAt = clock.monotonic();
    const leave = await this.#pace.acquire(request.signal);
    try {
      const release = await this.#shared.limiter.acquire(request.signal);
      const sentAt = clock.monotonic();
      queued.ms += sentAt - arrivedAt;
      try {
        const answer = await this.#transport.send({ ...request, timeoutMs: request.timeoutMs ?? this.#requestTimeoutMs });
        if (answer.status === 429) this.#pace.refused(sentAt);
        else this.#pace.taken();
        return this.identity === undefined || answer.status < 400 ? answer : { ...answer, actor: this.identity };
      } finally {
        release();
      }
    } finally {
      leave();
    }
  }

  #giveUp(why: string, cause: unknown, retryAfterMs?: number, maybeDone = false): never {
    throw new TransporterError("KUBE_UNAVAILABLE", `the API server at ${this.access.server} cannot be reached: ${why}`, {
      cause,
      details: { ...(retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs }), ...(maybeDone ? { maybe_done: true } : {}) },
    });
  }

  #unauthorized(answer: KubeAnswer): TransporterError {
    const words = textOf(parseRecord(answer.text)["message"]) ?? "Unauthorized";
    return new TransporterError(
      "KUBE_UNAUTHORIZED",
      `the API server at ${this.access.server} does not accept ${this.access.source}: ${words}`,
    );
  }
}

/** A client of one cluster. Opens nothing until it is used; holds nothing that would have to be closed but its keep-alive connections. */
export function createKubeClient(access: KubeAccess, options: KubeClientOptions): KubeClient {
  return new HttpKubeClient(access, options, access.identity);
}
