import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Lease, Replica, Store } from "../stores/mod.ts";

/** How often the lease is renewed, and how long it holds: two renewals may fail before anybody takes notice. */
export const LEASE = { everyMs: 2_000, ttlMs: 6_000 } as const;

export interface MembershipOptions {
  readonly store: Pick<Store, "info" | "renewLease" | "endLease">;
  readonly ports: Ports;
  readonly log: Logger;
  readonly id: string;
  readonly version: string;
  /** Where it can be reached, for people. */
  readonly address: string;
  /** The agents whose sockets are here. */
  readonly agents: () => { readonly connected: number; readonly registered: number };
  /** The others took this one for dead: its agents may be owned elsewhere by now. */
  readonly onLapsed: () => void;
}

/**
 * This control plane among those that share its store: keeps its lease, and knows the others. A lease only makes it fast: whether an agent
 * is ours is decided by its epoch, with every write.
 */
export class Membership {
  readonly id: string;
  readonly #options: MembershipOptions;
  readonly #startedAtMs: number;
  #address: string;
  #others: readonly Replica[] = [];
  #renewedMs: number | undefined;
  #lapses = 0;
  #failing = false;
  #timer: TimerHandle | undefined;
  #renewing: Promise<void> | undefined;
  #stopped = false;

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.id = options.id;
    this.#address = options.address;
    this.#startedAtMs = options.ports.clock.now();
  }

  /** Takes the first lease. Throws what the store throws. */
  async begin(): Promise<void> {
    await this.#take();
  }

  /** Keeps the lease from here on; an address that was not known before may be given. A store of one's own needs no keeping. */
  start(address = this.#address): void {
    this.#address = address;
    if (!this.#options.store.info.shared) return;
    this.#timer = this.#options.ports.timers.every(LEASE.everyMs, () => void this.renew(), { background: true });
    if (address !== this.#options.address) void this.renew();
  }

  /** Gives the lease back, so that nobody has to wait until it runs out. Throws what the store throws. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#renewing;
    await this.#options.store.endLease(this.id, this.#options.ports.clock.now());
  }

  /** Every control plane with a lease, by id, this one as it is now. */
  get replicas(): readonly Replica[] {
    return [...this.#others, this.#self()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  }

  /** Agents of all control planes together, as of their last renewals. */
  get agents(): { readonly connected: number; readonly registered: number } {
    let { connected, registered } = this.#options.agents();
    for (const { agents } of this.#others) {
      connected += agents?.connected ?? 0;
      registered += agents?.registered ?? 0;
    }
    return { connected, registered };
  }

  /** How often others took this one for dead. */
  get lapses(): number {
    return this.#lapses;
  }

  /** Whether the lease holds, as far as is known here. */
  get holds(): boolean {
    if (!this.#options.store.info.shared) return true;
    return this.#renewedMs !== undefined && this.#options.ports.clock.monotonic() - this.#renewedMs < LEASE.ttlMs;
  }

  /** One renewal at a time. Throws nothing: it is tried again with the next. */
  renew(): Promise<void> {
    this.#renewing ??= this.#try().finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  async #try(): Promise<void> {
    if (this.#stopped) return;
    const { log } = this.#options;
    try {
      const lease = await this.#take();
      if (this.#failing) log.info("The lease is kept again", { replica: this.id });
      this.#failing = false;
      if (lease.lapsed) {
        this.#lapses += 1;
        log.warn("The lease had run out: other control planes may have taken agents over", { replica: this.id, lapses: this.#lapses });
        this.#options.onLapsed();
      }
      if (lease.orphaned.length > 0) {
        log.warn("A control plane is gone, and its agents stand as disconnected", { agents: lease.orphaned.length });
      }
    } catch (error) {
      // Once: it is tried every two seconds for as long as it takes.
      if (!this.#failing) log.error("The lease could not be renewed", { replica: this.id, error: messageOf(error) });
      this.#failing = true;
    }
  }

  async #take(): Promise<Lease> {
    const { store, ports } = this.#options;
    const askedMs = ports.clock.monotonic();
    const lease = await store.renewLease({ replica: this.#self(), ttlMs: LEASE.ttlMs, nowMs: ports.clock.now() });
    this.#renewedMs = askedMs;
    this.#others = lease.replicas.filter(({ id }) => id !== this.id);
    return lease;
  }

  #self(): Replica {
    return {
      id: this.id,
      version: this.#options.version,
      address: this.#address,
      startedAtMs: this.#startedAtMs,
      agents: this.#options.agents(),
    };
  }
}
