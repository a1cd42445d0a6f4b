import type { SQLQueryBindings } from "bun:sqlite";
import { type Logger, type Ports, TransporterError } from "../../src/kit/mod.ts";
import type { LeaseInput, Store, Word } from "../../src/stores/mod.ts";
import { openSqliteStore } from "../../src/stores/drivers/sqlite/store.ts";
import { surround, type Around } from "./around.ts";
import type { Disk } from "./disk.ts";
import { type History, keyOf } from "./history.ts";
import type { Dice } from "./random.ts";
import type { StoreHome } from "./store-home.ts";
import { type CalledBy, StoreLink } from "./store-link.ts";
import { wordsAfter } from "./store-words.ts";
import { Life, type WallClock, type World } from "./world.ts";

/** What the network does between a store and those who share it. Probabilities are per request, and per word and listener. */
export interface StoreWeather {
  latencyMs: readonly [number, number];
  /** The connection breaks under a request: it, its answer, or both are lost. */
  break: number;
  /** What was on a broken connection is carried out all the same, later, though nobody waits for it any more. */
  haunt: number;
  wordLost: number;
  wordAgain: number;
  wordLateMs: number;
}

export const CALM_STORE: StoreWeather = { latencyMs: [0.2, 1], break: 0, haunt: 0, wordLost: 0, wordAgain: 0, wordLateMs: 2 };

interface Remembered {
  readonly atMs: number;
  readonly outcome: Promise<unknown>;
}

interface Snapshot {
  readonly atMs: number;
  readonly tables: ReadonlyMap<string, readonly Record<string, SQLQueryBindings>[]>;
  readonly leases: ReadonlyMap<string, { readonly input: LeaseInput; readonly untilMs: number }>;
}

export interface StoreServerOptions {
  readonly world: World;
  readonly disk: Disk;
  readonly history: History;
  readonly log: Logger;
  /** Around the store, the innermost first. */
  readonly around: readonly Around[];
  /** It was put back to an earlier state. */
  readonly onRestored: () => void;
}

/**
 * A store that several control planes share, as Redis is: a server of its own, which remembers what it answered to each request, so that one
 * asked again has the same answer and no second effect. Behind it is the SQLite driver, which is held to the same contract.
 */
export class StoreServer implements StoreHome {
  readonly disk: Disk;
  readonly wall: WallClock = { offsetMs: 0 };
  readonly dice: Dice;
  readonly world: World;
  readonly history: History;
  weather: StoreWeather = CALM_STORE;
  /** Who is asking for what is carried out now. */
  caller: CalledBy | undefined;
  readonly links = new Set<StoreLink>();
  readonly #options: StoreServerOptions;
  #life: Life;
  #lives = 1;
  #raw: Store;
  #store: Store;
  #up = true;
  #remembered = new Map<string, Remembered>();
  #leases = new Map<string, { readonly input: LeaseInput; readonly untilMs: number }>();
  #armed: number | undefined;
  #snapshot: Snapshot | undefined;

  constructor(options: StoreServerOptions) {
    this.#options = options;
    this.world = options.world;
    this.history = options.history;
    this.disk = options.disk;
    this.dice = options.world.dice.fork();
    this.#life = new Life("store", 1);
    this.#raw = this.#begin();
    this.#store = this.#surrounded();
  }

  get up(): boolean {
    return this.#up;
  }

  get life(): Life {
    return this.#life;
  }

  /** Without anything around it, for looking at. */
  get looked(): { readonly store: Store; readonly life: Life } {
    return { store: this.#raw, life: this.#life };
  }

  open(name: string, life: Life, ports: Ports): Store {
    const link = new StoreLink(this, { name, number: life.number }, life, ports);
    this.links.add(link);
    return link.store;
  }

  left(life: Life): void {
    for (const link of this.links) if (link.life === life) this.links.delete(link);
  }

  /** Carries a request out, or answers what it came to when it was carried out before. */
  perform(id: string, caller: CalledBy, method: string, args: readonly unknown[]): Promise<unknown> {
    const known = this.#remembered.get(id);
    if (known !== undefined) return known.outcome;
    if (method === "claimAgent" && this.#armed !== undefined) this.#strike(this.#armed);
    this.caller = caller;
    const outcome = this.#call(method, args);
    this.caller = undefined;
    outcome.catch(() => undefined);
    this.#remembered.set(id, { atMs: this.world.nowMs, outcome });
    if (method === "renewLease") {
      const input = args[0] as LeaseInput;
      this.#leases.set(input.replica.id, { input, untilMs: this.world.nowMs + input.ttlMs });
    } else if (method === "endLease") this.#leases.delete(args[0] as string);
    void this.#tell(caller, method, args, outcome);
    return outcome;
  }

  /** Nothing more goes wrong with it. */
  calm(): void {
    this.weather = CALM_STORE;
    this.#armed = undefined;
  }

  /** Nobody reaches it for a while. */
  goAway(ms: number): void {
    if (!this.#up) return;
    this.history.counts.storeAway += 1;
    this.world.note(`the store is away for ${Math.round(ms)} ms`);
    this.#up = false;
    for (const link of this.links) link.break(ms, true);
    this.world.after(ms, this.#life, "store back", () => (this.#up = true));
  }

  /** One of those who share it loses its connection. */
  breakOne(): void {
    if (this.links.size > 0) this.dice.pick([...this.links]).break(this.dice.pick([50, 1_000, 8_000]) * this.dice.float());
  }

  /** One hears nothing of the others for long; with or without being told afterwards. */
  deafen(ms: number): void {
    if (this.links.size === 0) return;
    this.history.counts.deaf += 1;
    this.dice.pick([...this.links]).deafen(ms, this.dice.chance(0.5));
  }

  /** The next agent that is claimed is among what is lost when it fails over, which it does then. */
  arm(awayMs: number): void {
    this.#armed = awayMs;
  }

  #strike(awayMs: number): void {
    this.#armed = undefined;
    this.lag();
    this.world.after(this.dice.float() * 1_000, undefined, "fail over", () => this.failOver(awayMs));
  }

  /** What is taken from now on is lost when `failOver` comes. */
  lag(): void {
    if (!this.#up) return;
    this.#snapshot = { atMs: this.world.nowMs, tables: this.disk.tables(), leases: new Map(this.#leases) };
  }

  /** Another server takes its place, which does not know what came after `lag`. */
  failOver(awayMs: number): void {
    const snapshot = this.#snapshot;
    if (snapshot === undefined || !this.#up) return;
    const { world, history, disk } = this;
    this.#snapshot = undefined;
    this.#up = false;
    history.counts.failOvers += 1;
    world.note(`the store fails over and loses ${Math.round(world.nowMs - snapshot.atMs)} ms`);
    this.#life.dead = true;
    for (const link of this.links) link.break(awayMs, true);
    disk.crash();
    const before = deliveriesOf(disk);
    const { agent = [], ...others } = Object.fromEntries(snapshot.tables);
    disk.restore(new Map(Object.entries({ ...others, agent: [] })));
    const after = deliveriesOf(disk);
    for (const [key, row] of before) if (after.get(key) !== row) history.disturbed.add(key);
    for (const key of before.keys()) if (!after.has(key)) history.lose(key, world.nowMs);
    for (const key of history.disturbed) history.finals.delete(key);
    this.#remembered = new Map([...this.#remembered].filter(([, one]) => one.atMs < snapshot.atMs));
    this.#leases = new Map(snapshot.leases);
    this.#lives += 1;
    this.#life = new Life("store", this.#lives);
    this.#raw = this.#begin();
    this.#store = this.#surrounded();
    world.as(this.#life, () => void this.#takeUp(agent, awayMs));
  }

  /** Leases survive in the server: they are known before anybody is looked for who has none. */
  async #takeUp(agents: readonly Record<string, SQLQueryBindings>[], awayMs: number): Promise<void> {
    const { world } = this;
    const leases = [...this.#leases.values()].filter(({ untilMs }) => untilMs > world.nowMs);
    await Promise.all(leases.map(({ input, untilMs }) => this.#raw.renewLease({ ...input, ttlMs: untilMs - world.nowMs })));
    this.disk.restore(new Map([["agent", agents]]));
    this.#options.onRestored();
    world.after(awayMs, this.#life, "store back", () => (this.#up = true));
  }

  #begin(): Store {
    const { world, disk, log } = this.#options;
    const { clock, timers } = world.portsOf(this.#life, this.wall);
    let store: Store | undefined;
    world.as(this.#life, () => {
      store = openSqliteStore({ path: ":memory:", database: disk.open(), clock, timers, log });
    });
    if (store === undefined) throw new Error("the store cannot be opened");
    return store;
  }

  #surrounded(): Store {
    let store = this.#raw;
    for (const around of this.#options.around) store = surround(store, around);
    return store;
  }

  #call(method: string, args: readonly unknown[]): Promise<unknown> {
    const call: unknown = Reflect.get(this.#store, method);
    if (typeof call !== "function") return Promise.reject(new TransporterError("INTERNAL", `the store knows no ${method}`));
    return (call as (...all: readonly unknown[]) => Promise<unknown>)(...args);
  }

  async #tell(caller: CalledBy, method: string, args: readonly unknown[], outcome: Promise<unknown>): Promise<void> {
    let words: readonly Word[];
    try {
      words = wordsAfter(method, args, await outcome);
    } catch {
      return;
    }
    if (words.length === 0 || !this.#up) return;
    for (const link of this.links) if (link.caller !== caller) link.tell(words);
  }
}

function deliveriesOf(disk: Disk): Map<string, string> {
  const rows = disk.read<{ id: string; revision: number }>(
    "SELECT event.id, delivery.* FROM delivery JOIN event ON event.no = delivery.event_no",
  );
  return new Map(rows.map((row) => [keyOf(row.id, row.revision), JSON.stringify(row)]));
}
