import { drainMicrotasks } from "bun:jsc";
import type { Failpoint, Ports, TimerHandle } from "../../src/kit/mod.ts";
import { Dice } from "./random.ts";

/** One run of a process, from its start to its end. What it does once it is dead has no effect. */
export class Life {
  readonly name: string;
  /** Which run of the process this is, from 1. */
  readonly number: number;
  dead = false;
  /** It stands still, as SIGSTOP makes it: what happens to it happens when it goes on. */
  stopped = false;
  readonly held: Step[] = [];

  constructor(name: string, number: number) {
    this.name = name;
    this.number = number;
  }
}

interface Step {
  atMs: number;
  order: number;
  readonly life: Life | undefined;
  readonly label: string;
  run: (() => void) | undefined;
}

/** Who dies when the world says so. */
export type Killer = (life: Life, why: string) => void;

/** When the machine of a process believes it is. */
export interface WallClock {
  offsetMs: number;
}

/** When every run begins. */
export const EPOCH_MS = Date.parse("2026-01-01T00:00:00Z");

/**
 * Virtual time and everything that happens in it: timers, turns of event loops and frames on the wire are steps of one queue, and after
 * each step all promises settle. Nothing else runs, so the same seed gives the same steps.
 */
export class World {
  readonly dice: Dice;
  nowMs = 0;
  steps = 0;
  /** Of every step and everything noted; two runs with the same hash did the same. */
  hash = 0x811c9dc5;
  readonly lines: string[] | undefined;
  /** Told of every point that a living process comes to; answers whether it dies there. */
  onFailpoint: (life: Life, name: Failpoint) => boolean = () => false;
  kill: Killer = () => undefined;
  /** Who is meant by a point that a server comes to which serves several processes. */
  meantBy: (server: Life) => Life | undefined = (life) => life;
  #current: Life | undefined;
  #order = 0;
  readonly #heap: Step[] = [];

  constructor(seed: number, options: { readonly trace?: boolean } = {}) {
    this.dice = new Dice(seed);
    this.lines = options.trace === true ? [] : undefined;
  }

  /** Whose step this is. */
  get current(): Life | undefined {
    return this.#current;
  }

  get pending(): number {
    return this.#heap.length;
  }

  /** Runs `run` as a step of its own after `ms`; not at all when `life` is over by then. */
  after(ms: number, life: Life | undefined, label: string, run: () => void): TimerHandle {
    this.#order += 1;
    const step: Step = { atMs: this.nowMs + Math.max(0, ms), order: this.#order, life, label, run };
    this.#push(step);
    return {
      cancel() {
        step.run = undefined;
      },
    };
  }

  /** Puts a word into the hash, and into the trace where one is kept. */
  note(text: string): void {
    let hash = this.hash;
    for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
    this.hash = hash;
    this.lines?.push(`${this.nowMs.toFixed(1).padStart(10)}  ${(this.#current?.name ?? "").padEnd(8)} ${text}`);
  }

  /** The next step. False when nothing is left to happen. */
  step(): boolean {
    for (;;) {
      const step = this.#pop();
      if (step === undefined) return false;
      if (step.run === undefined || step.life?.dead === true || this.#holds(step)) continue;
      this.nowMs = Math.max(this.nowMs, step.atMs);
      this.steps += 1;
      this.hash = Math.imul(this.hash ^ (step.order + Math.imul(this.nowMs * 1000, 31)), 0x01000193);
      this.as(step.life, step.run);
      return true;
    }
  }

  /** Does something in the name of a process and lets its promises settle. */
  as(life: Life | undefined, run: () => void): void {
    const before = this.#current;
    this.#current = life;
    try {
      run();
      drainMicrotasks();
    } catch (error) {
      // A process that died in the middle of something trips over what is no longer there.
      if (life?.dead !== true) throw error;
    } finally {
      this.#current = before;
    }
  }

  /** The process goes on: all that it slept through happens now, in order. */
  wake(life: Life): void {
    life.stopped = false;
    for (const step of life.held.splice(0)) {
      this.#order += 1;
      step.atMs = this.nowMs;
      step.order = this.#order;
      this.#push(step);
    }
  }

  /** As `as`, or when the process goes on. */
  asSoon(life: Life, label: string, run: () => void): void {
    if (life.stopped) this.after(0, life, label, run);
    else this.as(life, run);
  }

  /** Steps until a time, a condition, or the end of everything. True when the condition came. */
  runUntil(untilMs: number, done: () => boolean = () => false): boolean {
    while (!done()) {
      const next = this.#peek();
      if (next === undefined || next.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, Math.min(untilMs, next?.atMs ?? this.nowMs));
        return done();
      }
      this.step();
    }
    return true;
  }

  /** To be hung on `listenToFailpoints`. */
  failpoint(name: Failpoint): void {
    const current = this.#current;
    const life = current === undefined ? undefined : this.meantBy(current);
    if (life === undefined || life.dead) return;
    if (!this.onFailpoint(life, name)) return;
    this.kill(life, name);
    // Somebody else's transaction goes on.
    if (life !== current) return;
    // Nothing of the transaction may be tried once more: the committer takes a throw there for the end of its process.
    if (name === "cp.store.before-commit" || name === "cp.store.after-commit") throw new Error("the process died");
  }

  /** Clock, timers, randomness and ids of one run of a process. */
  portsOf(life: Life, wall: WallClock): Ports {
    const bornMs = this.nowMs;
    const dice = this.dice.fork();
    // Turns of one event loop stay in order, however long one takes.
    let loopMs = 0;
    const step = (ms: number, run: () => void, label: string): TimerHandle =>
      life.dead ? { cancel: () => undefined } : this.after(ms, life, label, run);
    // Real timers are whole milliseconds, one at least.
    const after = (ms: number, run: () => void, label = "timer"): TimerHandle => step(Math.max(1, Math.ceil(ms)), run, label);
    return {
      clock: {
        now: () => Math.floor(EPOCH_MS + this.nowMs + wall.offsetMs),
        monotonic: () => this.nowMs - bornMs,
      },
      timers: {
        after: (ms, run) => after(ms, run),
        every(ms, run) {
          let current: TimerHandle;
          const again = (): void => {
            current = after(ms, again, "every");
            run();
          };
          current = after(ms, again, "every");
          return { cancel: () => current.cancel() };
        },
        soon: (run) => {
          loopMs = Math.max(loopMs, this.nowMs + (dice.chance(0.1) ? dice.long(0, 30) : 0));
          step(loopMs - this.nowMs, run, "soon");
        },
        sleep(ms, signal) {
          return new Promise((resolve, reject) => {
            if (signal?.aborted === true) {
              reject(signal.reason as Error);
              return;
            }
            const timer = after(ms, resolve, "sleep");
            signal?.addEventListener(
              "abort",
              () => {
                timer.cancel();
                reject(signal.reason as Error);
              },
              { once: true },
            );
          });
        },
      },
      random: { float: () => dice.float() },
      ids: { uuid: () => dice.uuid() },
    };
  }

  #holds(step: Step): boolean {
    if (step.run === undefined || step.life?.stopped !== true || step.life.dead) return false;
    step.life.held.push(step);
    return true;
  }

  #before(a: Step, b: Step): boolean {
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  }

  #peek(): Step | undefined {
    for (;;) {
      const top = this.#heap[0];
      if (top === undefined || (top.run !== undefined && top.life?.dead !== true && top.life?.stopped !== true)) return top;
      this.#pop();
      this.#holds(top);
    }
  }

  #push(step: Step): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(step);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = heap[up];
      if (parent === undefined || !this.#before(step, parent)) break;
      heap[at] = parent;
      at = up;
    }
    heap[at] = step;
  }

  #pop(): Step | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      let child = heap[down];
      if (child === undefined) break;
      const right = heap[down + 1];
      if (right !== undefined && this.#before(right, child)) {
        down += 1;
        child = right;
      }
      if (!this.#before(child, last)) break;
      heap[at] = child;
      at = down;
    }
    heap[at] = last;
    return top;
  }
}
