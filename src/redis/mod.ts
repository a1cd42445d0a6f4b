/**
 * Redis, as the store and a queue use it: its addresses, connections that come back by themselves, what its faults mean, and what a server's
 * settings promise. Home of ioredis. Refuses addresses that it does not understand and servers that it cannot trust. Promises that a command
 * is sent once: what was on its way when a connection broke is rejected, never sent again, and nothing waits while the server is away.
 */
export * from "./address.ts";
export * from "./fault.ts";
export * from "./link.ts";
export * from "./settings.ts";
