import { createCore, type Core } from "../../src/cp/mod.ts";
import { prepareEvent } from "../../src/cp/prepare.ts";
import { agentSockets } from "../../src/cp/http/agent-sockets.ts";
import { BodyBudget } from "../../src/cp/http/body.ts";
import type { Call, Handler } from "../../src/cp/http/endpoint.ts";
import { agentEndpoints } from "../../src/cp/http/agents.ts";
import { eventEndpoints } from "../../src/cp/http/events.ts";
import { type Logger, type Ports, Shutdown, toTransporterError, TransporterError } from "../../src/kit/mod.ts";
import type { Metrics } from "../../src/metrics/mod.ts";
import { httpStatusOf } from "../../src/protocol/mod.ts";
import { ANONYMOUS } from "../../src/security/mod.ts";
import type { Store } from "../../src/stores/mod.ts";
import type { Network } from "./network.ts";
import type { StoreHome } from "./store-home.ts";
import { Life, type WallClock, type World } from "./world.ts";

export interface Answer {
  readonly status: number;
  /** The error's code; empty where there was none. */
  readonly code: string;
}

export interface ControlPlaneSettings {
  readonly maxInFlight: number;
  readonly eventRetryMax: number;
  readonly heartbeatTimeoutMs: number;
}

const decoder = new TextDecoder();
const NO_METRICS: Metrics = {
  http: () => undefined,
  frame: () => undefined,
  render: () => Promise.resolve({ body: "", contentType: "text/plain" }),
};

/** A control plane as a process: started, killed, started again over the same store. */
export class ControlPlaneProcess {
  readonly name: string;
  readonly wall: WallClock = { offsetMs: 0 };
  life: Life | undefined;
  core: Core | undefined;
  /** As it has it: through whatever lies between. */
  store: Store | undefined;
  ports: Ports | undefined;
  readonly #world: World;
  readonly #network: Network;
  readonly #settings: ControlPlaneSettings;
  readonly #log: Logger;
  readonly #home: StoreHome;
  #handlers = new Map<string, Handler>();
  #lives = 0;
  #stopping = false;
  readonly #spoil: ((core: Core) => void) | undefined;
  #shutdown: Shutdown | undefined;

  constructor(options: {
    readonly name: string;
    readonly world: World;
    readonly network: Network;
    readonly home: StoreHome;
    readonly settings: ControlPlaneSettings;
    readonly log: Logger;
    /** A bug to be found. */
    readonly spoil: ((core: Core) => void) | undefined;
  }) {
    this.name = options.name;
    this.#world = options.world;
    this.#network = options.network;
    this.#home = options.home;
    this.#spoil = options.spoil;
    this.#settings = options.settings;
    this.#log = options.log;
  }

  /** It serves: its socket is open. */
  get listening(): boolean {
    const listener = this.#network.listeners.get(this.name);
    return listener !== undefined && listener.life === this.life;
  }

  start(): void {
    this.#lives += 1;
    this.#stopping = false;
    const life = new Life(this.name, this.#lives);
    this.life = life;
    this.#world.note(`start ${this.name} ${this.#lives}`);
    this.#world.as(life, () => void this.#begin(life));
  }

  async #begin(life: Life): Promise<void> {
    const ports = this.#world.portsOf(life, this.wall);
    const log = this.#log;
    const store = this.#home.open(this.name, life, ports);
    this.store = store;
    this.ports = ports;
    const core = createCore({
      store,
      version: "0.0.0",
      ...this.#settings,
      retention: { eventsMs: 7 * 24 * 3_600_000, auditMs: 7 * 24 * 3_600_000 },
      metrics: () => NO_METRICS,
      parser: {
        prepare: (body, rule) => prepareEvent(typeof body === "string" ? body : decoder.decode(Buffer.concat([body].flat())), rule),
        stop: () => undefined,
      },
      offLoopChars: Number.POSITIVE_INFINITY,
      ports,
      log,
    });
    this.#spoil?.(core);
    const { registry, bell, gauge, metrics, dispatcher, gateway, intake } = core;
    const context = {
      ...core,
      store,
      registry,
      dispatcher,
      intake,
      bell,
      gauge,
      metrics,
      ports,
      log,
      version: { name: "transporter", version: "0.0.0", commit: "", built_at: "" } as never,
      maxEventBytes: 1024 * 1024,
      bodyBudget: new BodyBudget(8 * 1024 * 1024),
      isStopping: () => this.#stopping,
      isDraining: () => this.#stopping,
    };
    const endpoints = [...eventEndpoints(context), ...agentEndpoints(context)];
    this.#handlers = new Map(endpoints.map(({ method, path, handler }) => [`${method} ${path}`, handler]));
    this.#shutdown = new Shutdown(log, ports.timers);
    core.stopWith(this.#shutdown, () => Promise.resolve());
    try {
      await core.begin();
    } catch (error) {
      // Its store does not answer: it ends, and whoever runs it starts it again.
      this.#world.note(`cannot begin: ${String(error)}`);
      this.#world.kill(life, "its start");
      return;
    }
    if (life.dead) return;
    core.start();
    this.core = core;
    this.#network.listeners.set(this.name, { life, handlers: agentSockets(gateway, ports) });
  }

  /** The process is gone. What it had committed is what is left. */
  crash(silently: boolean): void {
    const { life } = this;
    if (life === undefined) return;
    life.dead = true;
    this.life = undefined;
    this.core = undefined;
    this.#home.left(life);
    this.#network.lost(life, silently);
  }

  /** Stops as SIGTERM makes it; `then` when it is gone. One that has not begun cannot be stopped: the shipped one waits until it has. */
  stop(then: () => void): void {
    const { life, core } = this;
    if (life === undefined || core === undefined || this.#shutdown === undefined) return;
    const shutdown = this.#shutdown;
    this.#stopping = true;
    const end = async (): Promise<void> => {
      await shutdown.run(8_000);
      if (this.life !== life) return;
      this.crash(false);
      then();
    };
    this.#world.as(life, () => void end());
  }

  submit(bytes: Uint8Array): Promise<Answer> {
    const { core } = this;
    return this.#answer(async () => {
      if (core === undefined || this.#stopping) throw new TransporterError("SHUTTING_DOWN", "stopping");
      await core.intake.submit(bytes, {
        principal: ANONYMOUS,
        remoteAddress: "10.0.0.2",
        requestId: "request",
        traceparent: undefined,
      });
      return 202;
    });
  }

  /** Calls an endpoint as the server would. `route` is the method and the pattern. */
  call(route: string, id: string): Promise<Answer> {
    const handler = this.#handlers.get(route);
    if (handler === undefined) throw new Error(`there is no ${route}`);
    // What the endpoints that are called here use of a request.
    const call = {
      principal: ANONYMOUS,
      remoteAddress: "10.0.0.2",
      requestId: "request",
      request: new Request("http://cp/"),
      param: () => id,
      // Nobody is asked who they are, so everybody sees everything.
      permit: () => undefined,
      sees: () => true,
      scopeSeen: () => undefined,
      require: () => undefined,
      reply: (status: number) => new Response(null, { status }),
    } as unknown as Call;
    return this.#answer(async () => (await handler(call))?.status ?? 0);
  }

  async #answer(ask: () => Promise<number>): Promise<Answer> {
    try {
      return { status: await ask(), code: "" };
    } catch (thrown) {
      const error = toTransporterError(thrown);
      if (error.code === "INTERNAL") this.#world.note(`internal: ${String(error.cause)}`);
      return { status: httpStatusOf(error.code), code: error.code };
    }
  }
}
