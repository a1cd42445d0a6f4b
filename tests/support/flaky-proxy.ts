import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** Which way: from whoever dialled to what is dialled (`up`), or back (`down`). */
export type Direction = "up" | "down";
const BOTH: readonly Direction[] = ["up", "down"];

/**
 * What becomes of new connections: passed on; accepted and then left without a word; closed as soon as the target's first answer (the
 * upgrade, for a WebSocket) has passed; or refused with a reset.
 */
export type Welcome = "relay" | "mute" | "close-after-first-answer" | "refuse";

export interface FlakyProxy extends AsyncDisposable {
  readonly port: number;
  /** Connections that were ever made through it, the refused ones left out. */
  readonly connections: number;
  /** Connections that stand now. */
  readonly open: number;
  /** Every piece of data waits this long in each direction. */
  delayMs: number;
  /** The end of a connection is passed on this much later: the other side believes in it until then. */
  closeDelayMs: number;
  /** At most this many bytes at a time, and a pause after each; undefined: all that there is. */
  trickle: { readonly bytes: number; readonly pauseMs: number } | undefined;
  /** Each connection is reset once this many bytes have passed in a direction, wherever in a frame that is; asked for each connection. */
  cutAfterBytes: ((connection: number) => Partial<Record<Direction, number>>) | undefined;
  welcome: Welcome;
  /** New connections are refused while false. */
  accepting: boolean;
  /** Drops every connection with a reset, as a crashed router does; on one side alone the other hears of it after `closeDelayMs`. */
  cut(side?: "client" | "target"): void;
  /** Half-open: nothing passes in these directions (both when none is named) and nobody is told, for connections that stand and new ones. */
  freeze(...directions: readonly Direction[]): void;
  /** Ends a freeze; what was held back passes. */
  thaw(): void;
  /** The connections that stand are half-open for ever, as when a router forgets them; new ones work. */
  forget(): void;
}

export interface FlakyProxyOptions {
  readonly targetPort: number;
}

/** What the whole proxy does to data, looked at anew for each piece. */
interface Weather {
  delayMs: number;
  closeDelayMs: number;
  trickle: FlakyProxy["trickle"];
  /** Who waits for the thaw, for each direction that is frozen. */
  readonly frozen: Map<Direction, (() => void)[]>;
}

/** One connection through the proxy. */
class Pair {
  readonly client: Socket;
  readonly target: Socket;
  readonly #weather: Weather;
  readonly #limits: Partial<Record<Direction, number>>;
  readonly #passed = { up: 0, down: 0 };
  forgotten = false;

  constructor(client: Socket, target: Socket, weather: Weather, limits: Partial<Record<Direction, number>>) {
    this.client = client;
    this.target = target;
    this.#weather = weather;
    this.#limits = limits;
    this.#relay("up", client, target);
    this.#relay("down", target, client);
  }

  reset(): void {
    this.client.resetAndDestroy();
    this.target.resetAndDestroy();
  }

  #relay(direction: Direction, from: Socket, to: Socket): void {
    // One piece after the other, whatever it waits for. A delay counts from when a piece came; pauses add up, as on a narrow line.
    let previous = Promise.resolve();
    const pass = (delayMs: number, pauseMs: number, act: () => void): void => {
      previous = this.#after(previous, direction, performance.now() + delayMs, pauseMs, act);
    };
    let ended = false;
    const end = (act: () => void): void => {
      if (ended) return;
      ended = true;
      pass(this.#weather.closeDelayMs, 0, act);
    };
    from.on("data", (data: Buffer) => {
      const { trickle, delayMs } = this.#weather;
      const step = trickle?.bytes ?? data.length;
      for (let at = 0; at < data.length; at += step)
        pass(delayMs, trickle?.pauseMs ?? 0, () => this.#write(direction, to, data.subarray(at, at + step)));
    });
    from.on("end", () => end(() => to.end()));
    from.on("error", () => end(() => to.destroy()));
    from.on("close", () => end(() => to.destroy()));
  }

  async #after(previous: Promise<void>, direction: Direction, dueMs: number, pauseMs: number, act: () => void): Promise<void> {
    await previous;
    const waitMs = Math.max(pauseMs, dueMs - performance.now());
    if (waitMs > 0) await Bun.sleep(waitMs);
    const held = this.#weather.frozen.get(direction);
    if (held !== undefined) await new Promise<void>((resolve) => held.push(resolve));
    if (!this.forgotten) act();
  }

  #write(direction: Direction, to: Socket, data: Buffer): void {
    const limit = this.#limits[direction];
    const room = limit === undefined ? data.length : Math.max(0, limit - this.#passed[direction]);
    this.#passed[direction] += data.length;
    const part = data.subarray(0, room);
    if (part.length > 0 && to.writable) to.write(part);
    // What was written must have left before the reset, or the cut would always be between two pieces.
    if (room < data.length) setImmediate(() => this.reset());
  }
}

/** A TCP relay on a free port of 127.0.0.1 that fails as networks do. */
export async function flakyProxy(options: FlakyProxyOptions): Promise<FlakyProxy> {
  const pairs = new Set<Pair>();
  /** Sockets that a pair's end need not reach: left without a word, or forgotten. */
  const lone = new Set<Socket>();
  const keep = (socket: Socket): void => {
    lone.add(socket);
    socket.on("close", () => lone.delete(socket));
  };
  let connections = 0;
  const weather: Weather = { delayMs: 0, closeDelayMs: 0, trickle: undefined, frozen: new Map() };
  const state: Pick<FlakyProxy, "welcome" | "cutAfterBytes"> = { welcome: "relay", cutAfterBytes: undefined };

  const server: Server = createServer((client) => {
    if (state.welcome === "refuse") {
      client.resetAndDestroy();
      return;
    }
    connections += 1;
    if (state.welcome === "mute") {
      keep(client);
      client.on("error", () => client.destroy());
      client.resume();
      return;
    }
    const target = connect(options.targetPort, "127.0.0.1");
    const pair = new Pair(client, target, weather, state.cutAfterBytes?.(connections) ?? {});
    pairs.add(pair);
    keep(target);
    client.on("close", () => pairs.delete(pair));
    if (state.welcome === "close-after-first-answer") target.once("data", () => setImmediate(() => pair.reset()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const cut = (side?: "client" | "target"): void => {
    if (side !== undefined) {
      for (const pair of pairs) pair[side].resetAndDestroy();
      return;
    }
    for (const pair of pairs) pair.reset();
    for (const socket of lone) socket.resetAndDestroy();
    pairs.clear();
  };
  const thaw = (): void => {
    const held = [...weather.frozen.values()].flat();
    weather.frozen.clear();
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
      return weather.delayMs;
    },
    set delayMs(ms) {
      weather.delayMs = ms;
    },
    get closeDelayMs() {
      return weather.closeDelayMs;
    },
    set closeDelayMs(ms) {
      weather.closeDelayMs = ms;
    },
    get trickle() {
      return weather.trickle;
    },
    set trickle(value) {
      weather.trickle = value;
    },
    get cutAfterBytes() {
      return state.cutAfterBytes;
    },
    set cutAfterBytes(value) {
      state.cutAfterBytes = value;
    },
    get welcome() {
      return state.welcome;
    },
    set welcome(value) {
      state.welcome = value;
    },
    get accepting() {
      return state.welcome !== "refuse";
    },
    set accepting(value) {
      state.welcome = value ? "relay" : "refuse";
    },
    cut,
    freeze(...directions) {
      for (const direction of directions.length === 0 ? BOTH : directions)
        if (!weather.frozen.has(direction)) weather.frozen.set(direction, []);
    },
    thaw,
    forget() {
      for (const pair of pairs) pair.forgotten = true;
    },
    async [Symbol.asyncDispose]() {
      weather.closeDelayMs = 0;
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
export async function connectProxy(options: { readonly port?: number } = {}): Promise<ConnectProxy> {
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
      client.on("close", () => target.destroy());
      target.on("error", () => client.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.resetAndDestroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
