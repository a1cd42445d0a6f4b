/**
 * Outgoing and incoming sockets: dialling a WebSocket (a port that the simulation replaces), proxies by environment, files of
 * certificate authorities, the bounded sender of the server side, and the fetch for addresses that somebody else named.
 *
 * It refuses proxies it cannot use and CA files without a certificate, rather than going on without them, and to fetch from link-local and
 * metadata addresses. It promises that every
 * connection ends in exactly one `close`, and that nothing it was handed is dropped without the caller hearing of it.
 */
export * from "./ca-file.ts";
export * from "./dial.ts";
export * from "./guarded-fetch.ts";
export * from "./peer.ts";
export * from "./proxy.ts";
