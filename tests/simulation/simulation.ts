import { withSmallLimits } from "./small-limits.ts";
import { Database } from "bun:sqlite";
import { FileLedger } from "../../src/agent/ledger-file.ts";
import { type Failpoint, listenToFailpoints, manualPorts, type Ports, silentLogger } from "../../src/kit/mod.ts";
import type { LogEntry } from "../../src/protocol/mod.ts";
import { resetGiven } from "../../src/sqlite/mod.ts";
import { openSqliteStore } from "../../src/stores/drivers/sqlite/store.ts";
import { AgentProcess } from "./agent-process.ts";
import type { Around } from "./around.ts";
import { Chaos } from "./chaos.ts";
import { Clients } from "./clients.ts";
import { Cluster } from "./cluster.ts";
import { ControlPlaneProcess } from "./control-plane.ts";
import { type Disk, DiskPool } from "./disk.ts";
import { Followers } from "./followers.ts";
import { History } from "./history.ts";
import { judge, judgeFinals } from "./invariants.ts";
import { Network } from "./network.ts";
import { OwnerWatch, watchLinks } from "./owner-watch.ts";
import type { Dice } from "./random.ts";
import { OwnStore, type StoreHome } from "./store-home.ts";
import { StoreServer } from "./store-server.ts";
import { type DiskState, fillable, traced, watchFrames, watchLedger, watchOldAgent, watchStore } from "./observers.ts";
import type { Plant } from "./planted.ts";
import { drawSharedShape, drawShape, drawWish, type Shape, type SharedShape, type Wish } from "./workload.ts";
import { EPOCH_MS, type Life, World } from "./world.ts";

/** In one run of so many the first agent is of a version that does not know operations. */
const OLD_AGENT_EVERY = 4;
/** After the chaos there is this much time to come to rest; more means that something hangs. */
const REST_MS = 40 * 60_000;
const LOOK_MS = 2_000;
/** Rest must last: what still moves in the background would show by then. */
const AFTER_MS = 35_000;
/** Of one run. More is a loop that never ends. */
const MOST_STEPS = 400_000;

/** A database as it is after its first start. */
function made(open: (database: Database, ports: Ports) => void): () => Database {
  return () => {
    const database = new Database(":memory:");
    open(database, manualPorts().ports);
    return database;
  };
}

const STORES = new DiskPool(
  made((database, { clock, timers }) => openSqliteStore({ path: ":memory:", database, clock, timers, log: silentLogger })),
  resetGiven,
);
const LEDGERS = new DiskPool(
  made((database, { clock, timers }) => new FileLedger({ stateDir: "", database, agentId: "any", clock, timers, log: silentLogger })),
  resetGiven,
);

export interface SimulationOptions {
  readonly trace?: boolean;
  /** A bug to be found. */
  readonly plant?: Plant;
  /** How many control planes share a store; 1, with a store of its own, where nothing is said. */
  readonly replicas?: number;
}

export interface Outcome {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly hash: string;
  readonly steps: number;
  readonly virtualMs: number;
  readonly counts: Readonly<Record<string, number>>;
  /** How often living processes came to each point, and died there. */
  readonly points: ReadonlyMap<Failpoint, number>;
  readonly deaths: ReadonlyMap<Failpoint, number>;
  /** Terminal states and verdicts that came up. */
  readonly reached: ReadonlySet<string>;
  readonly lines: readonly string[];
}

/** One run: a control plane, agents, clients, a network and chaos, all drawn from one seed. */
export class Simulation {
  readonly world: World;
  readonly shape: Shape;
  readonly history = new History();
  readonly network: Network;
  /** One with a store of its own, or several that share one. */
  readonly controlPlanes: readonly ControlPlaneProcess[];
  readonly home: StoreHome;
  /** What lies in the store. */
  readonly storeData: Disk;
  readonly server: StoreServer | undefined;
  readonly sharedShape: SharedShape | undefined;
  readonly agents: AgentProcess[] = [];
  readonly clients: Clients;
  /** Only where several share a store. */
  readonly followers: Followers | undefined;
  readonly chaos: Chaos;
  readonly storeDisk: DiskState = { full: false };
  readonly ledgerDisks = new Map<string, DiskState>();
  readonly points = new Map<Failpoint, number>();
  readonly #seed: number;
  /** What clients are still going to do. */
  #planned = 0;

  constructor(seed: number, options: SimulationOptions = {}) {
    this.#seed = seed;
    this.world = new World(seed, { trace: options.trace === true });
    const { world, history } = this;
    const storeDisk = STORES.take();
    this.storeData = storeDisk;
    const replicas = options.replicas ?? 1;
    const plant = options.plant?.({ store: storeDisk, caller: () => this.server?.caller?.name, nowMs: () => world.nowMs });
    this.shape = drawShape(world.dice.fork());
    this.network = new Network(world);
    const watch = watchFrames(history, (id) => this.agents.find((agent) => agent.id === id)?.disk);
    const watchOld = watchOldAgent(history, seed % OLD_AGENT_EVERY === 1 ? "a1" : undefined);
    this.network.filter = (direction, text, agentId) => {
      const changed = plant?.frames === undefined ? text : plant.frames(direction, text, agentId);
      const seen = changed === undefined ? undefined : watchOld(direction, changed, agentId);
      return seen === undefined ? undefined : watch(direction, seen, agentId);
    };
    const around: Around[] = [
      ...(plant?.store === undefined ? [] : [plant.store]),
      fillable(this.storeDisk, history),
      watchStore(world, history),
      ...(options.trace === true ? [traced(world, "store")] : []),
    ];
    if (replicas > 1) {
      const owners = new OwnerWatch(world, history);
      this.network.watch = watchLinks(history);
      this.sharedShape = drawSharedShape(world.dice.fork());
      this.server = new StoreServer({
        world,
        disk: storeDisk,
        history,
        log: silentLogger,
        around: [...around, owners.around],
        onRestored: () => owners.restored(storeDisk),
      });
      const { server } = this;
      const dice = world.dice.fork();
      world.meantBy = (life) => {
        if (life !== server.life) return life;
        return server.links.size === 0 ? undefined : dice.pick([...server.links]).life;
      };
    }
    this.home = this.server ?? new OwnStore(storeDisk, silentLogger, around);
    const names = replicas === 1 ? ["cp"] : Array.from({ length: replicas }, (_, at) => `cp${at + 1}`);
    this.controlPlanes = names.map(
      (name) =>
        new ControlPlaneProcess({
          name,
          world,
          network: this.network,
          home: this.home,
          settings: {
            maxInFlight: this.shape.maxInFlight,
            eventRetryMax: this.shape.eventRetryMax,
            heartbeatTimeoutMs: 30_000,
          },
          log: silentLogger,
          spoil: plant?.core,
        }),
    );
    for (let at = 1; at <= this.shape.agents; at += 1) {
      const id = `a${at}`;
      const cluster = new Cluster(world, history, id);
      const full: DiskState = { full: false };
      this.ledgerDisks.set(id, full);
      this.agents.push(
        new AgentProcess({
          id,
          hosts: this.sharedShape?.named === true ? names : ["cp"],
          world,
          network: this.network,
          disk: LEDGERS.take(),
          cluster,
          maxConcurrent: this.shape.maxConcurrent,
          heartbeatIntervalMs: 10_000,
          log: silentLogger,
          history,
          around: [
            ...(plant?.ledger === undefined ? [] : [plant.ledger]),
            fillable(full, history),
            watchLedger(world, history, cluster),
            ...(options.trace === true ? [traced(world, "ledger")] : []),
          ],
        }),
      );
    }
    this.clients = new Clients({ world, network: this.network, controlPlanes: this.controlPlanes, history, dice: world.dice.fork() });
    if (replicas > 1) {
      this.followers = new Followers({
        world,
        controlPlanes: this.controlPlanes,
        dice: world.dice.fork(),
        isLost: (id) => history.hasLost(id),
      });
    }
    this.chaos = new Chaos(this);
  }

  run(): Outcome {
    const { world, history, chaos } = this;
    listenToFailpoints((name) => {
      const life = world.current;
      if (life !== undefined && !life.dead) this.points.set(name, (this.points.get(name) ?? 0) + 1);
      world.failpoint(name);
    });
    try {
      for (const controlPlane of this.controlPlanes) controlPlane.start();
      for (const agent of this.agents) agent.start();
      this.#work();
      chaos.begin();
      this.#until(this.shape.chaosMs);
      chaos.end();
      this.#rest();
      judge(this);
    } catch (error) {
      history.violate(`the run broke off: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    } finally {
      listenToFailpoints(undefined);
      STORES.giveBack();
      LEDGERS.giveBack();
    }
    const { counts: network } = this.network;
    return {
      seed: this.#seed,
      violations: history.violations,
      hash: (world.hash >>> 0).toString(16).padStart(8, "0"),
      steps: world.steps,
      virtualMs: world.nowMs,
      counts: { ...history.counts, ...network, effects: history.effects.length },
      points: this.points,
      deaths: chaos.deaths,
      reached: new Set([...history.finals.values(), ...[...history.verdicts].map((verdict) => `verdict:${verdict}`)]),
      lines: world.lines ?? [],
    };
  }

  /** Looks at what is final now; to be asked whenever it could have changed. */
  look(): void {
    judgeFinals(this);
  }

  /** Nothing is under way anywhere. */
  get quiet(): boolean {
    const { controlPlanes, clients, agents } = this;
    if ((this.followers?.waiting.size ?? 0) > 0) return false;
    if (clients.open > 0 || this.#planned > 0 || this.chaos.busy || this.server?.up === false) return false;
    const cores = controlPlanes.flatMap(({ core }) => (core === undefined ? [] : [core]));
    if (cores.length < controlPlanes.length) return false;
    for (const { id, agent, disk } of agents) {
      if (agent === undefined || cores.every(({ registry }) => registry.get(id) === undefined)) return false;
      const { running, waiting, unacknowledged, link } = agent.state();
      if (link !== "registered" || running > 0 || waiting > 0 || unacknowledged > 0) return false;
      if (cores.some(({ dispatcher }) => dispatcher.inFlightOf(id) > 0)) return false;
      const left = disk.read<{ n: number }>(
        "SELECT (SELECT count(*) FROM deliveries WHERE state <> 'finished') + (SELECT count(*) FROM statuses) AS n",
      );
      if ((left[0]?.n ?? 0) > 0) return false;
    }
    const open = this.storeData.read<{ n: number }>("SELECT count(*) AS n FROM delivery WHERE finished_at_ms IS NULL");
    return open[0]?.n === 0;
  }

  /** The whole log of all events, as the store tells it. */
  log(): LogEntry[] {
    const { looked } = this.home;
    if (looked === undefined) throw new Error("the store is not there at the end");
    const { store, life } = looked;
    let entries: LogEntry[] | undefined;
    this.world.as(life, () => void store.logAfter({ tenant: "default", afterSeq: 0, limit: 100_000 }).then((all) => (entries = all)));
    this.world.runUntil(this.world.nowMs + 1_000, () => entries !== undefined);
    if (entries === undefined) throw new Error("the log cannot be read");
    return entries;
  }

  /** A process dies: at a point, or between two of its steps. */
  died(life: Life): void {
    this.chaos.died(life);
  }

  #until(ms: number): void {
    this.world.runUntil(ms, () => this.world.steps > MOST_STEPS);
    if (this.world.steps > MOST_STEPS) throw new Error("it never comes to an end");
  }

  #rest(): void {
    const { world, history } = this;
    const untilMs = world.nowMs + REST_MS;
    while (!this.quiet) {
      if (world.nowMs > untilMs) {
        history.violate("it does not come to rest");
        for (const id of this.followers?.waiting ?? []) history.violate(`who follows ${id} never sees its end`);
        return;
      }
      this.#until(world.nowMs + LOOK_MS);
      this.look();
    }
    this.#until(world.nowMs + AFTER_MS);
    if (!this.quiet) history.violate("it came to rest and moved again");
  }

  /** What the clients are going to do. */
  #work(): void {
    const { shape, clients } = this;
    const dice = this.world.dice.fork();
    for (let number = 1; number <= shape.events; number += 1) {
      // Some come together, as from a pipeline.
      const atMs = dice.chance(0.5) ? dice.float() * shape.chaosMs * 0.8 : dice.pick([0, 500, 2_000, 6_000]);
      // What a store may lose is known again by its agent only where its sender says when it was made.
      const wish = drawWish(dice, shape, number, (this.sharedShape?.failOvers ?? 0) > 0 ? EPOCH_MS + atMs : undefined);
      this.history.plans.set(wish.plan.id, wish.plan);
      const own = dice.fork();
      this.#later(atMs, "work", () => clients.submit(wish, (accepted) => accepted && this.#after(wish, own)));
      if (dice.chance(0.15)) this.#later(atMs + dice.long(0, 20_000), "work again", () => clients.submit(wish, () => undefined));
    }
  }

  /** What happens to an event once it is accepted. */
  #after(wish: Wish, dice: Dice): void {
    const { shape, clients } = this;
    const { id } = wish.plan;
    if (this.followers !== undefined && dice.chance(0.4)) this.followers.follow(id);
    // Where the store may lose the first, the other would be taken in, and rightly.
    const mayBeLost = (this.sharedShape?.failOvers ?? 0) > 0;
    if (dice.chance(0.1) && !mayBeLost) this.#later(dice.long(0, 10_000), "other", () => clients.submitOther(wish));
    if (dice.chance(shape.cancelChance)) this.#later(dice.long(0, 15_000), "cancel", () => clients.cancel(id));
    if (dice.chance(shape.retryChance)) {
      const again = (left: number): void => {
        const retry = (): void => clients.retry(id, (accepted) => !accepted && left > 0 && again(left - 1));
        this.#later(dice.long(500, 30_000), "retry", retry);
      };
      again(2);
    }
  }

  /** It is not quiet before this has happened. */
  #later(ms: number, label: string, run: () => void): void {
    this.#planned += 1;
    this.world.after(ms, undefined, label, () => {
      this.#planned -= 1;
      run();
    });
  }
}

export function simulate(seed: number, options: SimulationOptions = {}): Outcome {
  return withSmallLimits(() => new Simulation(seed, options).run());
}
