import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

export interface FlakyProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections that were ever made through it. */
  readonly connections: number;
  /** Connections that stand now. */
  readonly open: number;
  /** Every piece of data waits this long in each direction. */
  delayMs: number;
  /** New connections are refused while false. */
  accepting: boolean;
  /** Drops every connection with a reset, as a crashed router does. */
  cut(): void;
  /** Half-open: nothing passes and nobody is told, for connections that stand and new ones. */
  freeze(): void;
  /** Ends a freeze; what was held back passes. */
  thaw(): void;
}

export interface FlakyProxyOptions {
  readonly targetPort: number;
}

/** A TCP relay on a free port of 127.0.0.1 that fails as networks do. */
export async function flakyProxy(options: FlakyProxyOptions): Promise<FlakyProxy> {
  const pairs = new Set<{ readonly client: Socket; readonly target: Socket }>();
  let connections = 0;
  let frozen: (() => void)[] | undefined;
  const state = { delayMs: 0, accepting: true };

  const passAfter = async (previous: Promise<void>, waitMs: number, act: () => void): Promise<void> => {
    await previous;
    if (waitMs > 0) await Bun.sleep(waitMs);
    if (frozen !== undefined) await new Promise<void>((resolve) => frozen?.push(resolve));
    act();
  };
  const relay = (from: Socket, to: Socket): void => {
    // One piece after the other, whatever it waits for.
    let previous = Promise.resolve();
    const pass = (act: () => void): void => {
      previous = passAfter(previous, state.delayMs, act);
    };
    from.on("data", (data: Buffer) => pass(() => void (to.writable && to.write(data))));
    from.on("end", () => pass(() => to.end()));
    from.on("error", () => pass(() => to.destroy()));
    from.on("close", () => pass(() => to.destroy()));
  };

  const server: Server = createServer((client) => {
    if (!state.accepting) {
      client.resetAndDestroy();
      return;
    }
    connections += 1;
    const target = connect(options.targetPort, "127.0.0.1");
    const pair = { client, target };
    pairs.add(pair);
    client.on("close", () => pairs.delete(pair));
    relay(client, target);
    relay(target, client);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = (): void => {
    for (const { client, target } of pairs) {
      client.resetAndDestroy();
      target.resetAndDestroy();
    }
    pairs.clear();
  };
  const thaw = (): void => {
    const held = frozen ?? [];
    frozen = undefined;
    for (const go of held) go();
  };
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return connections;
    },
    get open() {
      return pairs.size;
    },
    get delayMs() {
      return state.delayMs;
    },
    set delayMs(ms) {
      state.delayMs = ms;
    },
    get accepting() {
      return state.accepting;
    },
    set accepting(value) {
      state.accepting = value;
    },
    cut,
    freeze() {
      frozen ??= [];
    },
    thaw,
    async [Symbol.asyncDispose]() {
      thaw();
      cut();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

export interface ConnectProxy extends AsyncDisposable {
  readonly port: number;
  /** Request lines and Proxy-Authorization headers, as they came. */
  readonly requests: readonly { readonly line: string; readonly authorization: string | undefined }[];
}

/** An HTTP proxy that knows CONNECT and takes every name for 127.0.0.1, so that a test can dial names that exist nowhere. */
export async function connectProxy(): Promise<ConnectProxy> {
  const requests: { line: string; authorization: string | undefined }[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    sockets.add(client);
    client.on("close", () => sockets.delete(client));
    client.on("error", () => client.destroy());
    client.once("data", (data: Buffer) => {
      const head = data.toString("latin1");
      const line = head.split("\r\n", 1)[0] ?? "";
      requests.push({ line, authorization: /^proxy-authorization: (.*)\r$/im.exec(head)?.[1] });
      const match = /^CONNECT \S+:(\d+) HTTP\/1\.1$/.exec(line);
      if (match === null) {
        client.end("HTTP/1.1 405 Method Not Allowed\r\n\r\n");
        return;
      }
      const target = connect(Number(match[1]), "127.0.0.1", () => {
        client.write("HTTP/1.1 200 Connection Established\r\n\r\n");
        client.pipe(target);
        target.pipe(client);
      });
      target.on("error", () => client.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
