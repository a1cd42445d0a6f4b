import { TransporterError, messageOf, type Ports } from "../../kit/mod.ts";
import type { ActingIdentity } from "../../protocol/mod.ts";
import type { KubeAccess } from "../access/access.ts";
import type { HeaderLine } from "../access/impersonation.ts";
import { answerText } from "./bounded.ts";
import { LinesFetch, repeatsHeader } from "./fetch-lines.ts";
import { Tidy } from "./tidy.ts";

export type KubeMethod = "GET" | "POST" | "PATCH" | "PUT" | "DELETE";

export interface KubeRequest {
  readonly method: KubeMethod;
  /** Path with its query, from the server's root. */
  readonly path: string;
  readonly body?: string;
  readonly contentType?: string;
  readonly accept?: string;
  readonly signal?: AbortSignal | undefined;
  /** Of one attempt, until the whole answer is there. */
  readonly timeoutMs?: number;
  /** False for what must not reach the server twice. Default: true for GET, else false. */
  readonly repeatable?: boolean;
}

export interface KubeAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The same request was sent before and got no answer that says what it did: what it asks for may have been done by then. */
  readonly sentBefore?: boolean;
  /** As whom it was asked, where not as the owner of the credentials. */
  readonly actor?: ActingIdentity;
}

/** One attempt did not get an answer. `fatal` says that the next would end alike, `unsent` that the request cannot have arrived. */
export class AttemptFailed extends Error {
  override readonly name = "AttemptFailed";
  readonly fatal: boolean;
  readonly unsent: boolean;

  constructor(message: string, how: { readonly fatal?: boolean; readonly unsent?: boolean }, cause: unknown) {
    super(message, { cause });
    this.fatal = how.fatal === true;
    this.unsent = how.unsent === true;
  }
}

const CERTIFICATE_FAULT = /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO_(VERIFY|GET)|VERIFY/i;

function failureOf(error: unknown): AttemptFailed {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const text = messageOf(error);
  if (CERTIFICATE_FAULT.test(code) || /certificate/i.test(text))
    return new AttemptFailed(`its certificate is not trusted (${code || text})`, { fatal: true, unsent: true }, error);
  if (/refused/i.test(code) || /refused/i.test(text)) return new AttemptFailed("connection refused", { unsent: true }, error);
  if (code === "ENOTFOUND" || /resolve|dns|getaddrinfo/i.test(text))
    return new AttemptFailed("its name cannot be resolved", { unsent: true }, error);
  return new AttemptFailed(text.replace(/ For more information.*$/s, "").replace(/\.$/, "") || code, {}, error);
}

/** Plain requests and streams over fetch. One call is one attempt: no retries, no judgement of the status. */
export class Transport {
  readonly #access: KubeAccess;
  readonly #ports: Ports;
  readonly #userAgent: string;
  readonly #identity: readonly HeaderLine[];
  readonly #lines: LinesFetch | undefined;
  readonly #tidy: Tidy;

  /** `identity` says for whom each request is meant to be; empty: for whoever the credentials are of. */
  constructor(access: KubeAccess, ports: Ports, userAgent: string, identity: readonly HeaderLine[]) {
    this.#access = access;
    this.#ports = ports;
    this.#tidy = new Tidy(ports.clock);
    this.#userAgent = userAgent;
    this.#identity = identity;
    this.#lines = repeatsHeader(identity) ? new LinesFetch() : undefined;
  }

  /** Throws AttemptFailed, the signal's reason, or what the credentials throw. */
  async send(request: KubeRequest & { readonly timeoutMs: number }): Promise<KubeAnswer> {
    const abort = new AbortController();
    return this.#guarded(abort, request, request.timeoutMs, async () => {
      const response = await this.#fetch(request, abort.signal);
      this.#tidy.answered();
      return { status: response.status, headers: response.headers, text: await answerText(response) };
    });
  }

  /**
   * Opens a stream: resolves when the headers are there. `abort` ends it at any time; the request's signal and `openTimeoutMs` bound only the opening.
   * Throws as `send`; the body's own end or failure is the reader's to see.
   */
  async open(request: KubeRequest, abort: AbortController, openTimeoutMs: number): Promise<Response> {
    return this.#guarded(abort, request, openTimeoutMs, () => this.#fetch(request, abort.signal));
  }

  async #guarded<T>(abort: AbortController, request: KubeRequest, timeoutMs: number, run: () => Promise<T>): Promise<T> {
    const { signal } = request;
    signal?.throwIfAborted();
    let late = false;
    const timer = this.#ports.timers.after(timeoutMs, () => {
      late = true;
      abort.abort();
    });
    const onAbort = (): void => abort.abort(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      return await run();
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      if (late) throw new AttemptFailed(`no answer within ${Math.round(timeoutMs / 1000)} s`, {}, error);
      if (error instanceof TransporterError) throw error;
      throw failureOf(error);
    } finally {
      timer.cancel();
      signal?.removeEventListener("abort", onAbort);
    }
  }

  async #fetch(request: KubeRequest, signal: AbortSignal): Promise<Response> {
    const { headers, tls } = await this.#access.credentials();
    const { method, body } = request;
    const url = `${this.#access.server}${request.path}`;
    const head = {
      ...headers,
      accept: request.accept ?? "application/json",
      "user-agent": this.#userAgent,
      ...(request.contentType === undefined ? {} : { "content-type": request.contentType }),
    };
    if (this.#lines !== undefined) {
      if (this.#access.proxy !== undefined)
        throw new TransporterError(
          "KUBE_CONFIG_INVALID",
          `${this.#access.source}: an identity of several groups or extra values cannot be used by way of its proxy-url`,
          { remedy: "Name a ServiceAccount, or one group, or reach the API server without a proxy." },
        );
      return this.#lines.fetch({ method, url, lines: [...Object.entries(head), ...this.#identity], body, tls, signal });
    }
    const { serverName, ...rest } = tls;
    const init: BunFetchRequestInit & { timeout?: boolean } = {
      method,
      headers: { ...head, ...Object.fromEntries(this.#identity) },
      signal,
      // A redirect would carry the credentials to wherever it points.
      redirect: "manual",
      tls: { ...rest, ...(serverName === undefined ? {} : { serverName }) },
      // The runtime's own limit would end a quiet watch after some minutes; ours is the timer above.
      timeout: false,
      ...(body === undefined ? {} : { body }),
      ...(this.#access.proxy === undefined ? {} : { proxy: this.#access.proxy }),
    };
    return fetch(url, init);
  }
}
