import { type Timers, TransporterError, isRetryable, messageOf } from "../kit/mod.ts";
import { errorOfAnswer } from "./problem.ts";

/** What of `fetch` is used; a caller may hand in one of its own (another CA, a proxy, a test). */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** What is shown to the control plane with every request. */
export interface Credential {
  /** For error messages: "the token in TRANSPORTER_TOKEN". */
  readonly describe: string;
  /** The bearer token to send now. Its failures are the caller's. */
  readonly token: (signal: AbortSignal | undefined) => Promise<string>;
  /** The control plane did not take it; what was made of it before is of no use any more. */
  readonly refused: () => void;
}

export interface TransportOptions {
  /** http or https, without a slash at its end. */
  readonly baseUrl: string;
  readonly timers: Timers;
  readonly fetch?: Fetch;
  readonly headers?: Readonly<Record<string, string>>;
  /** The caller answers for it that the way there is safe. */
  readonly credential?: Credential | undefined;
  /** How long one request may take until its whole answer is there; 30 s when absent. */
  readonly requestTimeoutMs?: number;
  /** Largest answer read; 64 MiB when absent. */
  readonly maxAnswerBytes?: number;
}

export interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  /** With its leading slash and its query. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: string;
  readonly accept?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** For error messages: what was being done. */
  readonly what: string;
  /** Nobody has to be known for it: nothing secret is sent along. */
  readonly anonymous?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
  /** What the answer's Retry-After says, where it says seconds. */
  readonly retryAfterMs?: number;
}

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** Requests to one control plane: bounded in time and size, never redirected, every failure a TransporterError. */
export class Transport {
  readonly baseUrl: string;
  readonly timers: Timers;
  readonly #fetch: Fetch;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #credential: Credential | undefined;
  readonly #requestTimeoutMs: number;
  readonly #maxAnswerBytes: number;

  constructor(options: TransportOptions) {
    if (!/^https?:\/\//.test(options.baseUrl))
      throw new TransporterError("CONFIG_INVALID", `${JSON.stringify(options.baseUrl)} is not an http or https address`);
    this.baseUrl = options.baseUrl;
    this.timers = options.timers;
    this.#fetch = options.fetch ?? ((url, init) => fetch(url, init));
    this.#headers = options.headers ?? {};
    this.#credential = options.credential;
    this.#requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
    this.#maxAnswerBytes = options.maxAnswerBytes ?? MAX_ANSWER_BYTES;
  }

  /** Asks and reads the whole answer. Answers of any status. Throws CP_UNREACHABLE, CP_ANSWER, or the signal's reason. */
  async ask(call: Call): Promise<Answer & { readonly contentType: string }> {
    const limit = new AbortController();
    const timer = this.timers.after(this.#requestTimeoutMs, () =>
      limit.abort(this.#unreachable(`no answer within ${this.#requestTimeoutMs / 1000} s`)),
    );
    const forget = follow(call.signal, limit);
    try {
      const response = await this.#send(call, limit.signal);
      const body = await this.#text(response, limit.signal);
      const after = /^\d{1,6}$/.exec(response.headers.get("retry-after") ?? "");
      return {
        status: response.status,
        body,
        contentType: response.headers.get("content-type") ?? "",
        ...(after === null ? {} : { retryAfterMs: Number(after[0]) * 1000 }),
      };
    } finally {
      timer.cancel();
      forget();
    }
  }

  /** Asks and reads the answer as JSON. Throws the error that the control plane answered with. */
  async json(call: Call): Promise<unknown> {
    const answer = await this.ask(call);
    if (answer.status < 200 || answer.status > 299)
      throw this.#refusal(errorOfAnswer(answer.status, answer.contentType, answer.body, call.what, answer.retryAfterMs));
    try {
      return JSON.parse(answer.body);
    } catch (error) {
      throw new TransporterError("CP_ANSWER", `${call.what}: the answer of ${this.baseUrl} is not JSON`, {
        cause: error,
        remedy: "This may not be a Transporter control plane; check --cp-url.",
      });
    }
  }

  /** Opens a stream; the caller reads its body and aborts `signal` when done. Throws as `json` does. */
  async open(
    call: Call & { readonly signal: AbortSignal; readonly headers: Readonly<Record<string, string>> },
  ): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#send(call, call.signal, call.headers);
    const contentType = response.headers.get("content-type") ?? "";
    if (!response.ok) throw this.#refusal(errorOfAnswer(response.status, contentType, await this.#text(response, call.signal), call.what));
    if (!contentType.startsWith("text/event-stream") || response.body === null)
      throw new TransporterError("CP_ANSWER", `${call.what}: ${this.baseUrl} does not answer with a stream`);
    return response.body;
  }

  async #send(call: Call, signal: AbortSignal, extra: Readonly<Record<string, string>> = {}): Promise<Response> {
    const credential = call.anonymous === true ? undefined : this.#credential;
    const headers: Record<string, string> = {
      accept: call.accept ?? "application/json",
      ...this.#headers,
      ...(credential === undefined ? {} : { authorization: `Bearer ${await credential.token(signal)}` }),
      ...call.headers,
      ...extra,
    };
    if (call.body !== undefined) headers["content-type"] = "application/json";
    let response: Response;
    try {
      response = await this.#fetch(this.baseUrl + call.path, {
        method: call.method,
        headers,
        redirect: "manual",
        signal,
        ...(call.body === undefined ? {} : { body: call.body }),
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw this.#unreachable(messageOf(error), error);
    }
    if (response.status === 401) credential?.refused();
    if (response.status >= 300 && response.status < 400)
      throw new TransporterError(
        "CP_ANSWER",
        `${call.what}: ${this.baseUrl} redirects to ${response.headers.get("location") ?? "another place"}`,
        {
          details: { status: response.status },
          remedy: "Give the address it redirects to as --cp-url, if that is your control plane; redirects are not followed.",
        },
      );
    return response;
  }

  async #text(response: Response, signal: AbortSignal): Promise<string> {
    if (response.body === null) return "";
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    const parts: string[] = [];
    let bytes = 0;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        bytes += value.byteLength;
        if (bytes > this.#maxAnswerBytes) {
          void reader.cancel().catch(() => undefined);
          throw new TransporterError("CP_ANSWER", `the answer of ${this.baseUrl} is larger than ${this.#maxAnswerBytes} bytes`, {
            remedy: "Ask for less at a time: a smaller --limit, or one event.",
          });
        }
        parts.push(decoder.decode(value, { stream: true }));
      }
    } catch (error) {
      if (error instanceof TransporterError) throw error;
      if (signal.aborted) throw signal.reason;
      throw this.#unreachable(messageOf(error), error);
    }
    parts.push(decoder.decode());
    return parts.join("");
  }

  /** Says what was shown, since the control plane does not say what it was shown. */
  #refusal(error: TransporterError): TransporterError {
    if (error.code === "TOO_MANY_ATTEMPTS") {
      const seconds = Math.ceil(retryAfterMs(error) / 1000);
      if (seconds === 0) return error;
      return new TransporterError(error.code, `${error.message}; nothing is looked at for ${seconds} s`, {
        details: error.details,
        remedy: "Correct the token, then wait so long: each further attempt makes it longer.",
      });
    }
    if (error.code !== "UNAUTHENTICATED" || this.#credential === undefined) return error;
    return new TransporterError("UNAUTHENTICATED", `${error.message} (${this.#credential.describe} was shown)`, {
      details: error.details,
      remedy: "It may have ended, have been revoked, or belong to another control plane. Log in anew with `transporter login`.",
    });
  }

  #unreachable(why: string, cause?: unknown): TransporterError {
    const remedy = remedyOf(this.baseUrl, cause);
    return new TransporterError("CP_UNREACHABLE", `the control plane at ${this.baseUrl} cannot be reached: ${why}`, {
      cause,
      ...(remedy === undefined ? {} : { remedy }),
    });
  }
}

const UNTRUSTED =
  /^(UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?)|SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|CERT_UNTRUSTED|CERT_SIGNATURE_FAILURE)$/;

/** What to do next, where what broke tells more than that it broke. */
function remedyOf(baseUrl: string, cause: unknown): string | undefined {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : "";
  if (UNTRUSTED.test(code))
    return "Its certificate leads to no CA that is trusted here. Give --ca-file FILE, or log in with the hash that `transporter cp init` printed: `transporter login --cp-url URL --ca-hash sha256:…`.";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return "Its certificate is for other names than this address. Use one of its names, or make the certificate anew with `transporter cp init --name NAME`.";
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID")
    return "Its certificate is not good at this time. Look at the clock here, and at the certificate with `transporter doctor cp` there.";
  if (baseUrl.startsWith("https:") && code === "EPROTO")
    return "It ended the handshake: it may speak http:// only, or be the listener for agents; people and programs use the API's (8080).";
  if (baseUrl.startsWith("http:") && (code === "ECONNRESET" || code === "ConnectionClosed" || code === "HPE_INVALID_CONSTANT"))
    return "Where it is secured it speaks https:// only; correct the address.";
  return undefined;
}

/** Aborts `inner` when `outer` is aborted; answers how to stop following. */
export function follow(outer: AbortSignal | undefined, inner: AbortController): () => void {
  if (outer === undefined) return () => undefined;
  const abort = (): void => inner.abort(outer.reason);
  if (outer.aborted) {
    abort();
    return () => undefined;
  }
  outer.addEventListener("abort", abort, { once: true });
  return () => outer.removeEventListener("abort", abort);
}

/** How long the control plane asks to be left alone, where it said so with its refusal; else 0. */
export function retryAfterMs(error: TransporterError): number {
  const asked = error.details["retry_after_ms"];
  return typeof asked === "number" ? asked : 0;
}

/** True for failures that say nothing about the request itself: the same call may work in a moment. */
export function isPassing(error: unknown): boolean {
  // Each further attempt with the same token would only make it longer.
  if (error instanceof TransporterError && error.code === "TOO_MANY_ATTEMPTS") return false;
  if (isRetryable(error)) return true;
  // A gateway in front that finds nobody behind it answers in its own words.
  const status = error instanceof TransporterError && error.code === "CP_ANSWER" ? error.details["status"] : undefined;
  return status === 502 || status === 503 || status === 504;
}
