import type { Failpoint } from "../../src/kit/mod.ts";
import { CALM, type Weather } from "./network.ts";
import type { Dice } from "./random.ts";
import type { Simulation } from "./simulation.ts";
import type { AgentProcess } from "./agent-process.ts";
import type { ControlPlaneProcess } from "./control-plane.ts";
import type { StoreServer } from "./store-server.ts";
import type { SharedShape } from "./workload.ts";
import type { Life } from "./world.ts";

/** Everything that goes wrong, until it is over. */
export class Chaos {
  /** Where processes died. */
  readonly deaths = new Map<Failpoint, number>();
  readonly #simulation: Simulation;
  readonly #dice: Dice;
  #over = false;
  /** Processes that are down and come back, and those that are stopping. */
  #absent = 0;
  readonly #paused = new Set<string>();
  readonly #frozen = new Set<Life>();

  constructor(simulation: Simulation) {
    this.#simulation = simulation;
    this.#dice = simulation.world.dice.fork();
    const { world } = simulation;
    world.onFailpoint = (_life, name) => {
      if (this.#over || !this.#dice.chance(simulation.shape.failpointChance)) return false;
      this.deaths.set(name, (this.deaths.get(name) ?? 0) + 1);
      return true;
    };
    world.kill = (life, why) => {
      world.note(`dies at ${why}`);
      this.died(life);
    };
  }

  /** Somebody is down, or about to be. */
  get busy(): boolean {
    return this.#absent > 0;
  }

  begin(): void {
    const { network, shape, server, sharedShape } = this.#simulation;
    const dice = this.#dice;
    network.weather = this.#weather();
    this.#sometimes(shape.crashes, () => this.#crash());
    this.#sometimes(shape.cuts, () => this.#cut());
    this.#sometimes(shape.jumps, () => this.#jump());
    this.#sometimes(shape.fullDisks, () => this.#fill());
    this.#sometimes(shape.pauses, () => this.#pause());
    if (dice.chance(0.2)) this.#sometimes(2, () => this.#away());
    if (dice.chance(0.2)) this.#sometimes(2, () => this.#partition());
    if (server !== undefined && sharedShape !== undefined) this.#beginShared(server, sharedShape);
    if (shape.removal) this.#sometimes(1, () => this.#simulation.clients.agent("remove", dice.pick(this.#simulation.agents).id));
  }

  /** Everything is mended; what is down comes back by itself. */
  end(): void {
    const { network, storeDisk, ledgerDisks, agents, clients, world, server } = this.#simulation;
    world.note("the chaos is over");
    server?.calm();
    for (const life of this.#frozen) this.#thaw(life);
    this.#over = true;
    network.weather = CALM;
    storeDisk.full = false;
    for (const disk of ledgerDisks.values()) disk.full = false;
    for (const agent of agents) agent.cluster.away = false;
    // Once more later: a request to pause may still be on its way.
    for (const id of this.#paused) for (const ms of [0, 30_000]) world.after(ms, undefined, "resume", () => clients.agent("resume", id));
  }

  /** A process is gone; it comes back after a while. */
  died(life: Life): void {
    const { controlPlanes, agents, world, history } = this.#simulation;
    const process = [...controlPlanes, ...agents].find((one) => one.life === life);
    if (process === undefined) return;
    history.counts.crashes += 1;
    process.crash(this.#dice.chance(0.15));
    this.#simulation.look();
    this.#absent += 1;
    world.after(this.#dice.long(100, 12_000), undefined, "start", () => {
      this.#absent -= 1;
      process.start();
    });
  }

  #anybody(): ControlPlaneProcess | AgentProcess {
    const { controlPlanes, agents } = this.#simulation;
    if (!this.#dice.chance(0.5)) return this.#dice.pick(agents);
    const [only] = controlPlanes;
    return controlPlanes.length === 1 && only !== undefined ? only : this.#dice.pick(controlPlanes);
  }

  /** What goes wrong between several control planes and the store that they share. */
  #beginShared(server: StoreServer, shape: SharedShape): void {
    const dice = this.#dice;
    const { world } = this.#simulation;
    server.weather = shape.weather;
    this.#sometimes(shape.freezes, () => this.#freeze());
    this.#sometimes(shape.breaks, () => server.breakOne());
    this.#sometimes(shape.aways, () => server.goAway(dice.long(100, 8_000)));
    this.#sometimes(shape.deaf, () => server.deafen(dice.long(2_000, 40_000)));
    this.#sometimes(shape.storeJumps, () => {
      server.wall.offsetMs += (dice.float() * 2 - 1) * 60_000;
    });
    this.#sometimes(shape.failOvers, () => {
      if (dice.chance(0.5)) {
        server.arm(dice.long(200, 6_000));
        return;
      }
      server.lag();
      world.after(dice.float() * 1_000, undefined, "fail over", () => server.failOver(dice.long(200, 6_000)));
    });
  }

  /** A process stands still, and goes on where it was. */
  #freeze(): void {
    const { world, history } = this.#simulation;
    const { life } = this.#anybody();
    if (life === undefined || life.stopped) return;
    history.counts.freezes += 1;
    world.note(`${life.name} stands still`);
    life.stopped = true;
    this.#frozen.add(life);
    world.after(this.#dice.long(500, 30_000), undefined, "goes on", () => this.#thaw(life));
  }

  #thaw(life: Life): void {
    if (!this.#frozen.delete(life)) return;
    const { world } = this.#simulation;
    world.note(`${life.name} goes on`);
    world.wake(life);
  }

  #weather(): Weather {
    const { shape } = this.#simulation;
    const dice = this.#dice;
    const bad = shape.badFrames;
    return {
      latencyMs: [dice.float() * 5, dice.pick([10, 60, 800])],
      drop: bad && dice.chance(0.6) ? dice.float() * 0.12 : 0,
      duplicate: bad && dice.chance(0.6) ? dice.float() * 0.15 : 0,
      reorder: bad && dice.chance(0.6) ? dice.float() * 0.15 : 0,
      reorderMs: dice.float() * 600,
      slow: shape.slow ? dice.pick([0.5, 2, 20]) : undefined,
      partitioned: false,
    };
  }

  #sometimes(times: number, happen: () => void): void {
    const { world, shape } = this.#simulation;
    for (let left = times; left > 0; left -= 1)
      if (left >= 1 || this.#dice.chance(left)) {
        world.after(this.#dice.float() * shape.chaosMs * 0.95, undefined, "chaos", () => {
          if (!this.#over) happen();
        });
      }
  }

  #crash(): void {
    const { world, history } = this.#simulation;
    const process = this.#anybody();
    const { life } = process;
    if (life === undefined) return;
    if (this.#dice.chance(0.2)) {
      history.counts.stops += 1;
      world.note(`stop ${life.name}`);
      process.stop(() => {
        this.#simulation.look();
        this.#absent += 1;
        world.after(this.#dice.long(100, 5_000), undefined, "start", () => {
          this.#absent -= 1;
          process.start();
        });
      });
      return;
    }
    world.note(`kill ${life.name}`);
    this.died(life);
  }

  #cut(): void {
    const { network, world } = this.#simulation;
    const links = [...network.links];
    if (links.length === 0) return;
    const link = this.#dice.pick(links);
    const kind = this.#dice.float();
    world.note(`cut ${link.agentId} ${kind.toFixed(2)}`);
    if (kind < 0.4) network.cut(link, false);
    else if (kind < 0.6) network.cut(link, true);
    else network.halfOpen(link, this.#dice.chance(0.5) ? "up" : "down");
  }

  #jump(): void {
    const { history, world } = this.#simulation;
    const process = this.#anybody();
    const far = this.#dice.chance(0.2) ? 600_000 : 20_000;
    process.wall.offsetMs += (this.#dice.float() * 2 - 1) * far;
    history.counts.clockJumps += 1;
    world.note(`clock of ${process.life?.name ?? "somebody"} is off by ${Math.round(process.wall.offsetMs)}`);
  }

  #fill(): void {
    const { storeDisk, ledgerDisks, world } = this.#simulation;
    const disk = this.#dice.chance(0.5) ? storeDisk : this.#dice.pick([...ledgerDisks.values()]);
    disk.full = true;
    world.note(`${disk === storeDisk ? "store" : "ledger"} full`);
    world.after(this.#dice.long(200, 8_000), undefined, "room", () => (disk.full = false));
  }

  #pause(): void {
    const { id } = this.#dice.pick(this.#simulation.agents);
    this.#paused.add(id);
    this.#simulation.clients.agent(this.#dice.chance(0.7) ? "pause" : "resume", id, () => !this.#over);
  }

  #away(): void {
    const { cluster } = this.#dice.pick(this.#simulation.agents);
    cluster.away = true;
    this.#simulation.world.after(this.#dice.long(200, 10_000), undefined, "api back", () => (cluster.away = false));
  }

  #partition(): void {
    const { network, world } = this.#simulation;
    network.weather = { ...network.weather, partitioned: true };
    for (const link of network.links) network.cut(link, this.#dice.chance(0.5));
    world.after(this.#dice.long(500, 8_000), undefined, "whole again", () => {
      network.weather = { ...network.weather, partitioned: false };
    });
  }
}
