import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { PeerCertificate } from "node:tls";
import { TransporterError, messageOf } from "../kit/mod.ts";
import { addressProblem, nameProblem } from "./forbidden-address.ts";
import { type ProxyEnv, proxyFor } from "./proxy.ts";

export interface GuardedInit {
  readonly method?: "GET" | "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal | undefined;
}

export interface GuardedOptions {
  /** PEM of the certificate authorities to trust instead of the system's. */
  readonly ca?: string | undefined;
  /** Take any certificate. Only for what is not secret and is checked otherwise. */
  readonly insecureTls?: boolean;
  /** In place of the check of the name; called before anything is sent. An error it answers ends the request. */
  readonly checkServerIdentity?: (host: string, certificate: PeerCertificate) => Error | undefined;
  /** HTTPS_PROXY and its kin, as the composition root read them. */
  readonly proxyEnv?: ProxyEnv | undefined;
  /** Until the whole answer is there; 10 s when absent. */
  readonly timeoutMs?: number;
  /** Largest body read; 1 MiB when absent. */
  readonly maxBytes?: number;
  /** In place of the system's resolver, for tests: all addresses of a name. */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
}

/** There was no whole answer. The message says why, and no more than that: it names neither headers nor bodies. */
export class FetchFailed extends Error {
  override readonly name = "FetchFailed";
  /** The server's certificate does not hold. */
  readonly untrusted: boolean;
  /** Nothing of the request can have arrived. */
  readonly unsent: boolean;

  constructor(message: string, how: { readonly untrusted?: boolean; readonly unsent?: boolean; readonly cause?: unknown } = {}) {
    super(message, how.cause === undefined ? undefined : { cause: how.cause });
    this.untrusted = how.untrusted === true;
    this.unsent = how.unsent === true || this.untrusted;
  }
}

const TIMEOUT_MS = 10_000;
const MAX_BYTES = 1024 * 1024;
const CERTIFICATE_FAULT = /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO_(VERIFY|GET)/i;
const REFUSED = /ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL|ConnectionRefused/i;

function refused(url: URL, why: string): TransporterError {
  return new TransporterError("ADDRESS_REFUSED", `${url.origin} is not asked: ${why}`);
}

function checkedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw new TransporterError("ADDRESS_REFUSED", "only http:// and https:// addresses are asked");
  if (url.username !== "" || url.password !== "")
    throw new TransporterError("ADDRESS_REFUSED", `${url.origin} is not asked: its address has a user or password in it`);
  return url;
}

async function systemResolve(host: string): Promise<readonly string[]> {
  const found = await lookup(host, { all: true });
  return found.map(({ address }) => address);
}

/** Addresses of the host, in the order to try them, all of them good; throws ADDRESS_REFUSED where one is not. */
async function goodAddresses(url: URL, host: string, resolve: (host: string) => Promise<readonly string[]>): Promise<readonly string[]> {
  let addresses: readonly string[];
  try {
    addresses = isIP(host) === 0 ? await resolve(host) : [host];
  } catch (error) {
    throw new FetchFailed(`the name ${host} cannot be resolved`, { unsent: true, cause: error });
  }
  if (addresses.length === 0) throw new FetchFailed(`the name ${host} has no address`, { unsent: true });
  for (const address of addresses) {
    const why = addressProblem(address);
    if (why !== undefined) throw refused(url, `${host === address ? "it" : `${address}, which ${host} has,`} is ${why}`);
  }
  return addresses;
}

function failureOf(error: unknown, late: boolean, timeoutMs: number): FetchFailed {
  if (error instanceof FetchFailed) return error;
  if (late) return new FetchFailed(`no whole answer within ${timeoutMs / 1000} s`, { cause: error });
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const text = messageOf(error).replace(/ For more information.*$/s, "");
  if (CERTIFICATE_FAULT.test(code) || /certificate/i.test(text))
    return new FetchFailed(`its certificate is not trusted (${code || text})`, { untrusted: true, cause: error });
  if (REFUSED.test(code) || REFUSED.test(text)) return new FetchFailed("connection refused", { unsent: true, cause: error });
  return new FetchFailed(text || code || "the connection failed", { cause: error });
}

async function boundedBody(response: Response, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const encoding = response.headers.get("content-encoding") ?? "identity";
  const cancel = (): void => void response.body?.cancel().catch(() => undefined);
  if (encoding !== "" && encoding !== "identity") {
    // A few bytes can unfold to gigabytes, and nobody asked for it.
    cancel();
    throw new FetchFailed(`its answer is packed (${encoding.slice(0, 20)}), which was not asked for`);
  }
  if (response.body === null) return new Uint8Array();
  const reader = response.body.getReader();
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    if (bytes > maxBytes) {
      void reader.cancel().catch(() => undefined);
      throw new FetchFailed(`its answer is larger than ${maxBytes} bytes`);
    }
    parts.push(value);
  }
  return new Uint8Array(Buffer.concat(parts));
}

type TlsOptions = NonNullable<BunFetchRequestInit["tls"]>;

/**
 * Fetches what somebody else named, and only over http or https: never from link-local or metadata addresses, judged by every address that
 * the name resolves to. The connection goes to the address that was judged (name and certificate are still those of the URL), so that a name
 * that resolves otherwise a moment later changes nothing. Redirects are answered as they are and never followed, so no header reaches another
 * origin. Bounded in time and size; packed answers are refused. Answers of any status, their bodies read.
 *
 * What it does not do: behind a proxy (`proxyEnv`) it is the proxy that resolves names, so only names and addresses as written are judged; where
 * the environment has a proxy that NO_PROXY takes this host from, the name is judged and then resolved once more by the runtime, which decides
 * by name whether to use the proxy. Loopback and private addresses are allowed, as that is where identity providers of one's own are.
 *
 * Throws ADDRESS_REFUSED, FetchFailed, or the signal's reason.
 */
export async function guardedFetch(address: string, init: GuardedInit = {}, options: GuardedOptions = {}): Promise<Response> {
  const url = checkedUrl(address);
  const { signal } = init;
  signal?.throwIfAborted();
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const timeout = AbortSignal.timeout(timeoutMs);
  const ending = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  try {
    const ways = await within(ending, waysTo(url, options));
    for (const [at, way] of ways.entries()) {
      try {
        return await attempt(url, way, init, options, ending);
      } catch (error) {
        const failure = failureOf(error, false, timeoutMs);
        if (at + 1 === ways.length || !failure.unsent || failure.untrusted || ending.aborted) throw error;
      }
    }
    throw new FetchFailed("it has no address");
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    if (error instanceof TransporterError) throw error;
    throw failureOf(error, timeout.aborted, timeoutMs);
  }
}

/** The resolver cannot be interrupted, so whoever waits for it is. */
async function within<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  const ended = Promise.withResolvers<never>();
  const onAbort = (): void => ended.reject(new FetchFailed("no answer of the resolver in time", { unsent: true }));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, ended.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** One way to the server: an address that was judged, or a proxy, or what the runtime makes of the name. */
interface Way {
  readonly address: string | undefined;
  readonly proxy: string | undefined;
}

async function waysTo(url: URL, options: GuardedOptions): Promise<readonly Way[]> {
  const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  const named = nameProblem(host);
  if (named !== undefined) throw refused(url, `it is ${named}`);
  const env = options.proxyEnv ?? {};
  const proxy = proxyFor(url.href, env);
  if (proxy !== undefined) {
    if (isIP(host) !== 0) await goodAddresses(url, host, systemResolve);
    return [{ address: undefined, proxy }];
  }
  const addresses = await goodAddresses(url, host, options.resolve ?? systemResolve);
  const hasProxy = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].some((name) => (env[name] ?? env[name.toLowerCase()] ?? "") !== "");
  if (hasProxy || isIP(host) !== 0) return [{ address: undefined, proxy: undefined }];
  return addresses.map((address) => ({ address, proxy: undefined }));
}

async function attempt(url: URL, way: Way, init: GuardedInit, options: GuardedOptions, signal: AbortSignal): Promise<Response> {
  const target = new URL(url);
  if (way.address !== undefined) target.hostname = isIP(way.address) === 6 ? `[${way.address}]` : way.address;
  const check = options.checkServerIdentity;
  let notIt: Error | undefined;
  const tls: TlsOptions = {
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.insecureTls === true ? { rejectUnauthorized: false } : {}),
    ...(way.address === undefined ? {} : { serverName: url.hostname.replace(/\.$/, "") }),
    ...(check === undefined
      ? {}
      : {
          checkServerIdentity(host: string, certificate: PeerCertificate) {
            notIt = check(host, certificate);
            return notIt;
          },
        }),
  };
  const request: BunFetchRequestInit & { readonly decompress: boolean; readonly timeout: boolean } = {
    method: init.method ?? "GET",
    headers: { "user-agent": "transporter", ...init.headers, "accept-encoding": "identity", host: url.host },
    ...(init.body === undefined ? {} : { body: init.body }),
    redirect: "manual",
    // A connection is kept by address and port, and the next request there may be for another name.
    keepalive: false,
    decompress: false,
    timeout: false,
    signal,
    ...(url.protocol === "https:" ? { tls } : {}),
    ...(way.proxy === undefined ? {} : { proxy: way.proxy }),
  };
  const response = await fetch(target.href, request).catch((error: unknown) => {
    throw notIt === undefined ? error : new FetchFailed(messageOf(notIt), { untrusted: true, cause: notIt });
  });
  const body = await boundedBody(response, options.maxBytes ?? MAX_BYTES);
  const bodiless = response.status === 204 || response.status === 205 || response.status === 304;
  return new Response(bodiless ? null : body, { status: response.status, headers: response.headers });
}
