import { Agent as HttpAgent, request as requestHttp, type IncomingMessage, type RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import { Readable } from "node:stream";
import type { HeaderLine } from "../access/impersonation.ts";
import type { KubeTls } from "../access/access.ts";

export interface LinesRequest {
  readonly method: string;
  readonly url: string;
  readonly lines: readonly HeaderLine[];
  readonly body: string | undefined;
  readonly tls: KubeTls;
  readonly signal: AbortSignal;
}

/** True where a header comes more than once, with values that are not to become one. */
export function repeatsHeader(lines: readonly HeaderLine[]): boolean {
  return new Set(lines.map(([name]) => name.toLowerCase())).size < lines.length;
}

/** By name, with all values that it has. */
function grouped(lines: readonly HeaderLine[]): Record<string, string | string[]> {
  const byName = new Map<string, string[]>();
  for (const [name, value] of lines) byName.set(name, [...(byName.get(name) ?? []), value]);
  return Object.fromEntries([...byName].map(([name, values]) => [name, values.length === 1 ? (values[0] ?? "") : values]));
}

function responseOf(message: IncomingMessage): Response {
  const headers = new Headers();
  for (let at = 0; at + 1 < message.rawHeaders.length; at += 2)
    headers.append(message.rawHeaders[at] ?? "", message.rawHeaders[at + 1] ?? "");
  const status = message.statusCode ?? 500;
  const empty = status === 204 || status === 205 || status === 304;
  if (empty) message.resume();
  return new Response(empty ? null : Readable.toWeb(message), { status, headers });
}

/**
 * What fetch cannot do: it joins the values of a header with commas, and the API server takes each line for one group. Slower than fetch, so only for
 * what needs it. One of these belongs to one identity: connections are kept by it.
 */
export class LinesFetch {
  #tls: KubeTls | undefined;
  #agent: HttpAgent | undefined;

  /** Resolves when the head of the answer is there. Follows no redirects, knows no proxies. */
  fetch(request: LinesRequest): Promise<Response> {
    const { method, url, lines, body, tls, signal } = request;
    const secure = url.startsWith("https:");
    // Other credentials are another connection.
    if (this.#agent === undefined || this.#tls !== tls) {
      this.#agent = secure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
      this.#tls = tls;
    }
    // As bytes: a body that is a text is sent in one piece with the head, and in its encoding, which is not that of the head.
    const bytes = body === undefined ? undefined : Buffer.from(body, "utf8");
    const { serverName, ...rest } = tls;
    const options: RequestOptions = {
      method,
      agent: this.#agent,
      signal,
      headers: { ...grouped(lines), ...(bytes === undefined ? {} : { "content-length": bytes.byteLength }) },
      ...(secure ? { ...rest, ...(serverName === undefined ? {} : { servername: serverName }) } : {}),
    };
    return new Promise((resolve, reject) => {
      const sent = (secure ? requestHttps : requestHttp)(url, options, (message) => {
        resolve(responseOf(message));
      });
      // For good: what breaks later is told by the body, and an error that nobody hears ends the process.
      sent.on("error", reject);
      sent.end(bytes);
    });
  }
}
