/**
 * The store port and its drivers. `openStore` turns a URL into a driver; the drivers are loaded only when their URL is used. It
 * refuses a store that a newer version wrote and a file that is damaged. Accepted means durable: no write resolves before its commit.
 */
export * from "./open.ts";
export * from "./port.ts";
