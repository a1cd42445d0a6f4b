import { Backoff, type Ports } from "../kit/mod.ts";
import { CLOSE } from "../protocol/mod.ts";
import { CLOSE_TRY_AGAIN_LATER, LINK } from "./link-times.ts";

/** What is known of an attempt that is over. */
export interface Ended {
  readonly code: number;
  readonly fault: string | undefined;
  /** It was refused for who the agent is, or is not: nothing changes that by trying soon. */
  readonly unwelcome: boolean;
  /** What the control plane speaks; undefined where the attempt never registered. */
  readonly protocol: number | undefined;
  /** How long it was registered; undefined where it never was. */
  readonly stoodMs: number | undefined;
}

/** Decides when the agent comes again after an attempt has ended, and to which of its addresses. */
export class Comeback {
  readonly #ports: Pick<Ports, "random" | "clock">;
  readonly #backoff: Backoff;
  readonly #refusals: Backoff;
  #count: number;
  /** Which of the addresses is dialled; grows. */
  #at = 0;
  /** Attempts that failed since one registered. */
  #failures = 0;
  #lastImmediateMs = Number.NEGATIVE_INFINITY;
  /** When it was replaced last, and when it gave up waiting for an answer to its registration; monotonic. */
  #replacedMs = Number.NEGATIVE_INFINITY;
  #gaveUpMs = Number.NEGATIVE_INFINITY;

  constructor(count: number, ports: Pick<Ports, "random" | "clock">) {
    this.#ports = ports;
    this.#backoff = new Backoff({ firstMs: LINK.backoffFirst, maxMs: LINK.backoffMax }, ports.random);
    this.#refusals = new Backoff({ firstMs: LINK.refusedFirst, maxMs: LINK.refusedMax }, ports.random);
    this.#count = count;
    this.restart(count);
  }

  /** There are so many addresses now, and none was tried. */
  restart(count: number): void {
    this.#count = count;
    this.#failures = 0;
    // Agents with the same list do not all come to its first.
    this.#at = count > 1 ? Math.floor(this.#ports.random.float() * count) : 0;
  }

  /** Of the address to dial now. */
  get index(): number {
    return this.#at % this.#count;
  }

  /** How long to wait for an answer to the registration. */
  get patienceMs(): number {
    return this.#count > 1 && this.#failures < this.#count ? LINK.impatientTimeout : LINK.registrationTimeout;
  }

  registered(): void {
    this.#failures = 0;
  }

  /** It has stood long enough for the next wait to begin from the start again. */
  settled(): void {
    this.#backoff.reset();
    this.#refusals.reset();
  }

  gaveUp(): void {
    this.#gaveUpMs = this.#ports.clock.monotonic();
  }

  afterNoDial(): number {
    this.#at += 1;
    return this.#backoff.next();
  }

  after(ended: Ended): number {
    const { random, clock } = this.#ports;
    const { code, fault, stoodMs } = ended;
    if (code === CLOSE.replaced && this.#mayBeOurs())
      return LINK.replacedPauseMin + random.float() * (LINK.replacedPauseMax - LINK.replacedPauseMin);
    if (code === CLOSE.replaced || code === CLOSE.removed || ended.unwelcome) {
      return LINK.evictedPauseMin + random.float() * (LINK.evictedPauseMax - LINK.evictedPauseMin);
    }
    // When a 0.1 control plane sees an id twice it drops both connections, so whoever comes back first is right. But not in a loop.
    const immediate = ended.protocol === 0 && clock.monotonic() - this.#lastImmediateMs > LINK.settled;
    if (immediate) {
      this.#lastImmediateMs = clock.monotonic();
      return 0;
    }
    // Any of the others, so that those who lose one control plane do not all come to the same; then one after the other.
    this.#at += stoodMs === undefined || this.#count < 3 ? 1 : 1 + Math.floor(random.float() * (this.#count - 1));
    this.#failures += 1;
    // Not where it goes on like this: told to move on by each in turn, or turned away by all.
    const isSoon =
      (code === CLOSE.moveOn && (stoodMs ?? 0) >= LINK.settled) || (stoodMs === undefined && this.#failures % this.#count !== 0);
    if (isSoon) return random.float() * LINK.moveSpread;
    // The transport says of a refused upgrade no more than this sentence.
    if (code === CLOSE_TRY_AGAIN_LATER || fault?.includes("503") === true) return this.#refusals.next();
    return (stoodMs ?? 0) >= LINK.settled ? random.float() * LINK.lostSpread : this.#backoff.next();
  }

  /** Whether the connection that replaced this one may be an earlier one of this agent, and not somebody else with its id. */
  #mayBeOurs(): boolean {
    const nowMs = this.#ports.clock.monotonic();
    const isFirst = nowMs - this.#replacedMs > LINK.replacedMemory;
    this.#replacedMs = nowMs;
    return isFirst || nowMs - this.#gaveUpMs < LINK.replacedMemory;
  }
}
