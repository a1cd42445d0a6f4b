/**
 * Ports of 127.0.0.1 that were free a moment ago, all different. Somebody else may take one before it is used, so whoever starts a
 * server with one must be ready to try again with others.
 */
export function freePorts(count: number): number[] {
  const listeners = Array.from({ length: count }, () => Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } }));
  const ports = listeners.map((listener) => listener.port);
  for (const listener of listeners) listener.stop(true);
  return ports;
}

/** The port itself when nothing listens there, else undefined. */
export function portIfFree(port: number): number | undefined {
  try {
    Bun.listen({ hostname: "127.0.0.1", port, socket: { data: () => undefined } }).stop(true);
    return port;
  } catch {
    return undefined;
  }
}
