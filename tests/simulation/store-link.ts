import { type Ports, TransporterError } from "../../src/kit/mod.ts";
import type { Store, StoreInfo, Word, WordListener } from "../../src/stores/mod.ts";
import type { StoreServer } from "./store-server.ts";
import type { Life } from "./world.ts";

/** How long a request whose connection broke is tried again before nobody knows what became of it. */
const AGAIN_MS = 3_000;

/** What is asked for seldom, and matters most when nobody knows what became of it. */
const WEIGHTY = new Set(["createEvent", "moveDelivery", "cancelEvent", "retryEvent", "claimAgent"]);

/** A run of a control plane, as the store knows it. */
export interface CalledBy {
  readonly name: string;
  readonly number: number;
}

interface Request {
  readonly id: string;
  readonly method: string;
  readonly args: readonly unknown[];
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

const INFO: StoreInfo = { driver: "shared", location: "a server", schemaVersion: 4, shared: true };

/**
 * A shared store as one control plane has it: requests travel, in order, and so do answers. When the connection breaks, what was not answered is
 * sent again under the same name, or rejected while its effect may be there. Without a connection everything is rejected at once.
 */
export class StoreLink {
  readonly store: Store;
  readonly caller: CalledBy;
  readonly life: Life;
  readonly #server: StoreServer;
  readonly #ports: Ports;
  /** Not answered yet, in the order asked. */
  readonly #open = new Map<string, Request>();
  /** Their answers meet a connection that breaks. */
  readonly #doomed = new Set<string>();
  #unsent: Request[] = [];
  #connected = true;
  #hears = true;
  /** Which connection this is. */
  #generation = 0;
  #count = 0;
  #upMs = 0;
  #downMs = 0;
  readonly #listeners = new Set<WordListener>();
  #deafUntilMs = 0;

  constructor(server: StoreServer, caller: CalledBy, life: Life, ports: Ports) {
    this.#server = server;
    this.caller = caller;
    this.life = life;
    this.#ports = ports;
    this.#connected = server.up;
    if (!server.up) this.#comeBack(this.#generation);
    this.store = this.#face();
  }

  /** The connection is gone, for so long at least; and with `deaf` that on which words come, which is another. */
  break(ms: number, deaf = this.#server.dice.chance(0.5)): void {
    const { world, dice, weather, history } = this.#server;
    if (this.life.dead) return;
    history.counts.storeBreaks += 1;
    world.note(`${this.caller.name} loses its store for ${Math.round(ms)} ms, with ${this.#open.size} requests open`);
    this.#connected = false;
    if (deaf) this.#hears = false;
    this.#generation += 1;
    const generation = this.#generation;
    this.#unsent = [];
    if (dice.chance(weather.haunt)) {
      // What had left is carried out all the same, up to some place in it.
      const left = [...this.#open.values()].slice(0, dice.whole(0, this.#open.size));
      world.after(dice.long(0, 8_000), this.#server.life, "store haunted", () => {
        for (const request of left) this.#perform(request).catch(() => undefined);
      });
    }
    for (const request of this.#open.values()) {
      this.#ports.timers.after(AGAIN_MS, () => {
        if (!this.#open.has(request.id) || this.#connected) return;
        this.#open.delete(request.id);
        history.counts.storeUnknown += 1;
        request.reject(new TransporterError("STORE_UNAVAILABLE", "the connection broke, and nobody knows what became of it"));
      });
    }
    world.after(ms, this.life, "store reconnects", () => this.#comeBack(generation));
  }

  tell(words: readonly Word[]): void {
    const { world, dice, weather } = this.#server;
    if (!this.#hears || this.life.dead || world.nowMs < this.#deafUntilMs) return;
    const arrive = (): void => {
      for (const listener of this.#listeners) listener.words(words);
    };
    if (!dice.chance(weather.wordLost)) world.after(dice.long(0.1, weather.wordLateMs), this.life, "words", arrive);
    if (dice.chance(weather.wordAgain)) world.after(dice.long(0.1, weather.wordLateMs * 3), this.life, "words again", arrive);
  }

  /** Words do not come for so long, though all else does. */
  deafen(ms: number, told: boolean): void {
    const { world } = this.#server;
    world.note(`${this.caller.name} hears nothing for ${Math.round(ms)} ms`);
    this.#deafUntilMs = world.nowMs + ms;
    if (told) world.after(ms, this.life, "gap", () => this.#gap());
  }

  #breakSomehow(): void {
    const { dice } = this.#server;
    if (this.#connected) this.break(dice.pick([20, 400, 6_000, 12_000]) * dice.float());
  }

  #gap(): void {
    for (const listener of this.#listeners) listener.gap();
  }

  #comeBack(generation: number): void {
    if (this.#generation !== generation) return;
    if (!this.#server.up) {
      this.#server.world.after(100, this.life, "store reconnects", () => this.#comeBack(generation));
      return;
    }
    this.#connected = true;
    // Before anything new: what was asked first takes effect first.
    for (const request of this.#open.values()) this.#send(request);
    if (this.#hears) return;
    this.#hears = true;
    this.#gap();
  }

  #call(method: string, args: readonly unknown[]): Promise<unknown> {
    if (this.life.dead) return new Promise<never>(() => undefined);
    if (!this.#connected) return Promise.reject(new TransporterError("STORE_UNAVAILABLE", "the store is away"));
    this.#count += 1;
    const id = `${this.caller.name}.${this.caller.number}.${this.#count}`;
    return new Promise((resolve, reject) => {
      const request: Request = { id, method, args, resolve, reject };
      this.#open.set(id, request);
      this.#send(request);
    });
  }

  /** With all that is asked for in the same turn. */
  #send(request: Request): void {
    const { world, dice, weather } = this.#server;
    this.#unsent.push(request);
    if (dice.chance(weather.break * (WEIGHTY.has(request.method) ? 8 : 1))) {
      // On the way there, or on the way back.
      if (dice.chance(0.4)) world.after(0, this.life, "store breaks", () => this.#breakSomehow());
      else this.#doomed.add(request.id);
    }
    if (this.#unsent.length > 1) return;
    const generation = this.#generation;
    this.#upMs = Math.max(this.#upMs, world.nowMs + dice.long(...weather.latencyMs));
    const { life } = this.#server;
    world.after(this.#upMs - world.nowMs, life, "store", () => {
      if (this.#generation !== generation) return;
      for (const one of this.#unsent.splice(0)) void this.#answer(one, generation);
    });
  }

  #perform({ id, method, args }: Request): Promise<unknown> {
    return this.#server.perform(id, this.caller, method, args);
  }

  async #answer(request: Request, generation: number): Promise<void> {
    const settle = await this.#perform(request).then(
      (value) => () => request.resolve(value),
      (error: unknown) => () => request.reject(error),
    );
    if (this.#generation !== generation || this.life.dead) return;
    if (this.#doomed.delete(request.id)) {
      this.#breakSomehow();
      return;
    }
    const { world, dice, weather } = this.#server;
    this.#downMs = Math.max(this.#downMs, world.nowMs + dice.long(...weather.latencyMs));
    world.after(this.#downMs - world.nowMs, this.life, "store answer", () => {
      // One who stood still finds the answer in its socket, though the connection is gone by now.
      if (this.#open.delete(request.id)) settle();
    });
  }

  #face(): Store {
    const own: Readonly<Record<string, unknown>> = {
      info: INFO,
      hear: (listener: WordListener) => {
        this.#listeners.add(listener);
        return () => this.#listeners.delete(listener);
      },
      followEntries: () => undefined,
      close: () => Promise.resolve(),
    };
    const methods = new Map<string, unknown>();
    return new Proxy({} as Store, {
      get: (_target, name) => {
        // A promise for a store must not take the store for a promise.
        if (typeof name !== "string" || name === "then") return undefined;
        if (name in own) return own[name];
        let method = methods.get(name);
        if (method === undefined) {
          method = (...args: readonly unknown[]) => this.#call(name, args);
          methods.set(name, method);
        }
        return method;
      },
    });
  }
}
