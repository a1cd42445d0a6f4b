import type { ServerWebSocket, WebSocketHandler } from "bun";
import type { SocketData } from "../../src/cp/http/agent-sockets.ts";
import type { DialOptions, Socket, SocketHandlers } from "../../src/net/mod.ts";
import type { Dice } from "./random.ts";
import type { Life, World } from "./world.ts";

/** What the network does to frames and links; changed while a run goes on. Probabilities are per frame. */
export interface Weather {
  latencyMs: readonly [number, number];
  drop: number;
  duplicate: number;
  /** A frame overtakes those that were sent up to this long before it. */
  reorder: number;
  reorderMs: number;
  /** Bytes per millisecond that an agent takes; undefined: all at once. */
  slow: number | undefined;
  /** Nobody gets a new connection. */
  partitioned: boolean;
}

export const CALM: Weather = {
  latencyMs: [1, 5],
  drop: 0,
  duplicate: 0,
  reorder: 0,
  reorderMs: 0,
  slow: undefined,
  partitioned: false,
};

/** The kernel of the server gives a connection up that hears nothing for this long; who listens on it notices sooner. */
const SERVER_IDLE_MS = 60_000;

type ServerHandlers = Pick<WebSocketHandler<SocketData>, "open" | "message" | "ping" | "drain" | "close">;
type Direction = "up" | "down";
const NOTHING = Buffer.alloc(0);

export interface Listener {
  readonly life: Life;
  readonly handlers: ServerHandlers;
}

export interface NetworkCounts {
  links: number;
  cuts: number;
  halfOpens: number;
  dropped: number;
  duplicated: number;
  reordered: number;
  congested: number;
}

/** Sees every frame as it is sent, and may change it or take it away. */
export type FrameFilter = (direction: Direction, text: string, agentId: string) => string | undefined;

/** Sees what arrives at an agent and what an agent sends, and on which of its connections. */
export type LinkWatch = (direction: "arrived" | "sent", text: string, link: Link) => void;

/** The wires between agents and the control plane. */
export class Network {
  readonly world: World;
  readonly dice: Dice;
  weather: Weather = CALM;
  /** Control planes that serve, by name. */
  readonly listeners = new Map<string, Listener>();
  watch: LinkWatch | undefined;
  filter: FrameFilter | undefined;
  readonly links = new Set<Link>();
  readonly counts: NetworkCounts = { links: 0, cuts: 0, halfOpens: 0, dropped: 0, duplicated: 0, reordered: 0, congested: 0 };

  constructor(world: World) {
    this.world = world;
    this.dice = world.dice.fork();
  }

  latency(): number {
    return this.dice.long(...this.weather.latencyMs);
  }

  /** `host` is a control plane, or "cp": then some balancer picks one of those that serve. */
  dial(life: Life, agentId: string, host: string, options: DialOptions): Socket {
    return new Link(this, life, agentId, host, options.handlers).agentSocket();
  }

  /** Who is behind a name now. */
  listenerOf(host: string): Listener | undefined {
    const named = this.listeners.get(host);
    if (named !== undefined || host !== "cp" || this.listeners.size === 0) return named;
    return this.dice.pick([...this.listeners.values()]);
  }

  /** The process is gone: its kernel closes what it had, unless its whole machine went and says nothing. */
  lost(life: Life, silently: boolean): void {
    for (const link of this.links) link.lost(life, silently);
    for (const [name, listener] of this.listeners) if (listener.life === life) this.listeners.delete(name);
  }

  /** Breaks a link; each side learns of it in its own time, or only by silence. */
  cut(link: Link, silently: boolean): void {
    this.counts.cuts += 1;
    link.cut(silently);
  }

  halfOpen(link: Link, direction: Direction): void {
    this.counts.halfOpens += 1;
    link.deafen(direction);
  }
}

/** One direction of a link: frames arrive in order unless the weather is bad. */
class Wire {
  dead = false;
  /** When the last frame in order arrives. */
  lastMs = 0;
  /** Until when the sender's buffer is busy with what was sent. */
  busyMs = 0;
  buffered = 0;
}

/** One connection from the dialling to its end on both sides. */
export class Link {
  readonly agentId: string;
  /** What its reply said, once it has arrived. */
  epoch: number | undefined;
  readonly #host: string;
  readonly #network: Network;
  readonly #agent: Life;
  readonly #handlers: SocketHandlers;
  #server: Listener | undefined;
  #socket: ServerWebSocket<SocketData> | undefined;
  #agentOpen = true;
  #serverOpen = false;
  readonly #up = new Wire();
  readonly #down = new Wire();

  constructor(network: Network, agent: Life, agentId: string, host: string, handlers: SocketHandlers) {
    this.#network = network;
    this.#agent = agent;
    this.agentId = agentId;
    this.#host = host;
    this.#handlers = handlers;
    network.links.add(this);
    network.counts.links += 1;
    network.world.after(network.latency(), undefined, "dial", () => this.#arrive());
  }

  get standing(): boolean {
    return this.#agentOpen && this.#serverOpen;
  }

  agentSocket(): Socket {
    return {
      send: (text) => {
        if (!this.#agentOpen || this.#agent.dead || !this.#serverOpen) return false;
        this.#network.watch?.("sent", text, this);
        this.#frame("up", text, this.#server?.life, (arrived) => this.#toServer(arrived));
        return true;
      },
      ping: () => {
        if (!this.#agentOpen || this.#agent.dead) return;
        this.#deliver(this.#up, this.#server?.life, "ping", () => {
          if (!this.#serverOpen || this.#socket === undefined) return;
          void this.#server?.handlers.ping?.(this.#socket, NOTHING);
          this.#deliver(this.#down, this.#agent, "pong", () => this.#agentOpen && this.#handlers.alive());
        });
      },
      close: (code, reason) => {
        if (!this.#agentOpen || this.#agent.dead) return;
        this.#deliver(this.#up, this.#server?.life, "close", () => {
          this.#closeServer(code, reason);
          this.#deliver(this.#down, this.#agent, "closed", () => this.#closeAgent(code, reason));
        });
      },
      terminate: () => {
        if (!this.#agentOpen || this.#agent.dead) return;
        this.#network.world.after(0, this.#agent, "terminated", () => this.#closeAgent(1006, ""));
        this.#deliver(this.#up, this.#server?.life, "reset", () => this.#closeServer(1006, ""));
      },
      bufferedBytes: 0,
    };
  }

  lost(life: Life, silently: boolean): void {
    if (life === this.#agent) {
      this.#agentOpen = false;
      if (silently) this.#silent();
      else this.#network.world.after(this.#network.latency(), this.#server?.life, "agent gone", () => this.#closeServer(1006, ""));
    } else if (life === this.#server?.life) {
      this.#serverOpen = false;
      if (silently) this.#down.dead = true;
      else this.#network.world.after(this.#network.latency(), this.#agent, "server gone", () => this.#closeAgent(1006, ""));
    }
    this.#forget();
  }

  cut(silently: boolean): void {
    const { world, dice } = this.#network;
    this.#up.dead = true;
    this.#down.dead = true;
    if (!silently) world.after(dice.long(0, 2_000), this.#agent, "cut", () => this.#closeAgent(1006, ""));
    if (silently || dice.chance(0.3)) this.#silent();
    else world.after(dice.long(0, 2_000), this.#server?.life, "cut", () => this.#closeServer(1006, ""));
  }

  deafen(direction: Direction): void {
    (direction === "up" ? this.#up : this.#down).dead = true;
    if (direction === "up") this.#silent();
  }

  #arrive(): void {
    const { world, weather } = this.#network;
    const listener = this.#network.listenerOf(this.#host);
    if (this.#agent.dead) {
      this.#agentOpen = false;
      this.#forget();
      return;
    }
    if (listener === undefined || listener.life.dead || weather.partitioned) {
      world.after(this.#network.latency(), this.#agent, "refused", () => this.#closeAgent(1006, "", "connection refused"));
      return;
    }
    this.#server = listener;
    this.#serverOpen = true;
    const socket = this.#serverSocket(listener.life);
    this.#socket = socket;
    const opened = (): void => {
      void listener.handlers.open?.(socket);
      this.#deliver(this.#down, this.#agent, "opened", () => this.#agentOpen && this.#handlers.open());
    };
    // The kernel of one that stands still takes the connection, and nobody answers.
    world.asSoon(listener.life, "open", opened);
  }

  #serverSocket(life: Life): ServerWebSocket<SocketData> {
    const { world } = this.#network;
    const socket = {
      data: {
        arrival: { requestId: `link-${this.#network.counts.links}`, door: { kind: "open" } },
        peer: undefined,
        agent: undefined,
        heardMs: 0,
      } satisfies SocketData,
      remoteAddress: "10.0.0.1",
      sendText: (text: string): number => {
        if (life.dead || !this.#serverOpen) return 0;
        this.#frame("down", text, this.#agent, (arrived) => {
          if (!this.#agentOpen) return;
          this.#network.watch?.("arrived", arrived, this);
          this.#handlers.message(arrived);
        });
        if (this.#down.buffered === 0) return text.length;
        this.#network.counts.congested += 1;
        return -1;
      },
      getBufferedAmount: () => this.#down.buffered,
      close: (code: number, reason: string) => {
        if (life.dead || !this.#serverOpen) return;
        this.#deliver(this.#down, this.#agent, "close", () => this.#closeAgent(code, reason));
        world.after(0, life, "closed", () => this.#closeServer(code, reason));
      },
      terminate: () => {
        if (life.dead || !this.#serverOpen) return;
        this.#deliver(this.#down, this.#agent, "reset", () => this.#closeAgent(1006, ""));
        world.after(0, life, "terminated", () => this.#closeServer(1006, ""));
      },
    };
    // Only what the control plane uses of Bun's socket.
    return socket as unknown as ServerWebSocket<SocketData>;
  }

  /** Sends a text frame, as the weather lets it. */
  #frame(direction: Direction, text: string, to: Life | undefined, arrive: (text: string) => void): void {
    const { weather, dice, counts, world, filter } = this.#network;
    const wire = direction === "up" ? this.#up : this.#down;
    const shown = filter === undefined ? text : filter(direction, text, this.agentId);
    if (shown === undefined) return;
    if (world.lines !== undefined) world.note(`${direction} ${this.agentId} ${shown.slice(0, 220)}`);
    else world.hash = Math.imul(world.hash ^ shown.length, 0x01000193);
    if (dice.chance(weather.drop)) {
      counts.dropped += 1;
      world.lines?.push(`            lost ${direction}`);
      return;
    }
    if (dice.chance(weather.duplicate)) {
      counts.duplicated += 1;
      this.#deliver(wire, to, "frame again", () => arrive(shown), 0, dice.long(0, 500));
    }
    if (dice.chance(weather.reorder)) {
      counts.reordered += 1;
      world.after(this.#network.latency() + dice.long(0, weather.reorderMs), to, "frame out of order", () => {
        if (!wire.dead) arrive(shown);
      });
      return;
    }
    this.#deliver(wire, to, "frame", () => arrive(shown), direction === "down" ? shown.length : 0);
  }

  /** Puts something on a wire: it arrives after all that was put there before. */
  #deliver(wire: Wire, to: Life | undefined, label: string, run: () => void, bytes = 0, laterMs = 0): void {
    const { world, weather } = this.#network;
    if (wire.dead) return;
    let leavesMs = world.nowMs;
    if (bytes > 0 && weather.slow !== undefined) {
      wire.busyMs = Math.max(wire.busyMs, world.nowMs) + bytes / weather.slow;
      leavesMs = wire.busyMs;
      wire.buffered += bytes;
      world.after(leavesMs - world.nowMs, this.#server?.life, "drain", () => this.#drained(bytes));
    } else if (wire.busyMs > world.nowMs) leavesMs = wire.busyMs;
    const arrivesMs = Math.max(leavesMs + this.#network.latency(), wire.lastMs) + laterMs;
    if (laterMs === 0) wire.lastMs = arrivesMs;
    world.after(arrivesMs - world.nowMs, to, label, () => {
      if (!wire.dead) run();
    });
  }

  #drained(bytes: number): void {
    this.#down.buffered -= bytes;
    if (this.#serverOpen && this.#socket !== undefined && this.#down.buffered === 0) void this.#server?.handlers.drain?.(this.#socket);
  }

  #toServer(text: string): void {
    if (this.#serverOpen && this.#socket !== undefined) void this.#server?.handlers.message?.(this.#socket, text);
  }

  /** The server hears nothing more of this agent, and drops it after its idle time. */
  #silent(): void {
    this.#network.world.after(SERVER_IDLE_MS, this.#server?.life, "idle", () => this.#closeServer(1006, ""));
  }

  #closeAgent(code: number, reason: string, fault?: string): void {
    if (!this.#agentOpen) return;
    this.#agentOpen = false;
    this.#forget();
    if (!this.#agent.dead) this.#handlers.close(code, reason, fault);
  }

  #closeServer(code: number, reason: string): void {
    if (!this.#serverOpen || this.#socket === undefined) return;
    this.#serverOpen = false;
    this.#forget();
    if (this.#server?.life.dead === false) void this.#server.handlers.close?.(this.#socket, code, reason);
  }

  #forget(): void {
    if (!this.#agentOpen && !this.#serverOpen) this.#network.links.delete(this);
  }
}
