import type { Clock } from "../../../kit/mod.ts";
import type { Duty, Replica } from "../../port.ts";

interface Held {
  readonly replica: Replica;
  readonly untilMs: number;
}

interface Duties {
  readonly replicaId: string;
  readonly untilMs: number;
}

/**
 * Who uses this store, and who does what for all. In memory alone: a file belongs to one process, and with it end all that it knew. There
 * may be several control planes in that process all the same, as in the simulation.
 */
export class Leases {
  readonly #clock: Clock;
  #held: ReadonlyMap<string, Held> = new Map();
  #lapsed: ReadonlySet<string> = new Set();
  #duties: ReadonlyMap<Duty, Duties> = new Map();
  /** Agents may stand as connected to somebody without a lease: whoever was here before this process, at first. */
  #unchecked = true;
  #before: readonly [ReadonlyMap<string, Held>, ReadonlySet<string>, ReadonlyMap<Duty, Duties>, boolean];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#before = this.#now();
  }

  begin(): void {
    this.#before = this.#now();
  }

  undo(): void {
    [this.#held, this.#lapsed, this.#duties, this.#unchecked] = this.#before;
  }

  /** Answers whether it had one that has lapsed. */
  renew(replica: Replica, ttlMs: number): boolean {
    this.#prune();
    const lapsed = this.#lapsed.has(replica.id);
    if (lapsed) this.#lapsed = new Set([...this.#lapsed].filter((id) => id !== replica.id));
    this.#held = new Map([...this.#held, [replica.id, { replica, untilMs: this.#clock.now() + ttlMs }]]);
    return lapsed;
  }

  end(replicaId: string): void {
    this.#held = new Map([...this.#held].filter(([id]) => id !== replicaId));
    this.#lapsed = new Set([...this.#lapsed].filter((id) => id !== replicaId));
    this.#duties = new Map([...this.#duties].filter(([, one]) => one.replicaId !== replicaId));
  }

  has(replicaId: string): boolean {
    const held = this.#held.get(replicaId);
    return held !== undefined && held.untilMs > this.#clock.now();
  }

  replicas(): readonly Replica[] {
    this.#prune();
    return [...this.#held.values()].map((one) => one.replica).toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  takeDuty(duty: Duty, replicaId: string, ttlMs: number): boolean {
    const nowMs = this.#clock.now();
    const held = this.#duties.get(duty);
    if (held !== undefined && held.replicaId !== replicaId && held.untilMs > nowMs) return false;
    this.#duties = new Map([...this.#duties, [duty, { replicaId, untilMs: nowMs + ttlMs }]]);
    return true;
  }

  /** An agent stands as connected to this control plane from now on, whether it has a lease or not. */
  used(replicaId: string): void {
    if (!this.has(replicaId)) this.#unchecked = true;
  }

  /** Whether agents must be looked at for such that belong to nobody; once for each reason. */
  mustCheck(): boolean {
    this.#prune();
    const must = this.#unchecked;
    this.#unchecked = false;
    return must;
  }

  #prune(): void {
    const nowMs = this.#clock.now();
    const over = [...this.#held].filter(([, held]) => held.untilMs <= nowMs).map(([id]) => id);
    if (over.length === 0) return;
    this.#held = new Map([...this.#held].filter(([id]) => !over.includes(id)));
    this.#lapsed = new Set([...this.#lapsed, ...over]);
    this.#unchecked = true;
  }

  #now() {
    return [this.#held, this.#lapsed, this.#duties, this.#unchecked] as const;
  }
}
