/**
 * The control plane's API, typed, over `fetch` alone, so that command line, scripts and a browser page can use it. It refuses other
 * schemes than http and https, redirects, and answers beyond a size; it promises that every failure is a TransporterError with the
 * control plane's own code where it gave one, and that a live stream gives each entry once and in order over broken connections.
 */
export * from "./client.ts";
export * from "./problem.ts";
export type { CanIQuery, SecurityClient, TokenFilter } from "./security-calls.ts";
export * from "./sse.ts";
export type { StreamOptions } from "./stream.ts";
export { type Credential, type Fetch, isPassing, retryAfterMs } from "./transport.ts";
