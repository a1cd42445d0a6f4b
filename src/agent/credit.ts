import { type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Credit } from "../protocol/mod.ts";
import type { Ledger } from "./ledger.ts";

export const CREDIT_LIMITS = {
  /** Held at once unless told otherwise; what is larger than the bytes is held alone. */
  deliveries: 64,
  bytes: 64 * 1024 * 1024,
  /** A control plane that knows no credit hands over as much as it was told to; beyond this it is not listened to. */
  deliveriesUnasked: 1024,
  /** What a delivery costs beside its text. */
  overheadBytes: 1024,
  announceAfterMs: 20,
  probeMs: 2_000,
} as const;

const NONE: Credit = { deliveries: 0, bytes: 0 };

export interface CreditOptions {
  /** How much may be held that is not finished. */
  readonly hold: Credit;
  readonly ledger: Pick<Ledger, "probe">;
  readonly ports: Ports;
  readonly log: Logger;
  /** Whether this delivery is arriving, waiting or running here. */
  readonly holds: (key: string) => boolean;
  /** Sends a frame to a control plane that knows credit; false to any other, or to none. */
  readonly send: (text: string) => boolean;
}

/**
 * How much the agent takes on: what it tells the control plane, and what it holds to whatever the control plane does. While the ledger
 * cannot be written it asks for nothing, feels from time to time whether it can, and then asks for all again.
 */
export class CreditLine {
  readonly #options: CreditOptions;
  readonly #taken = new Map<string, number>();
  #takenBytes = 0;
  #failing = false;
  #stopped = false;
  #announced: Credit | undefined;
  #announcing: TimerHandle | undefined;
  #probing: TimerHandle | undefined;

  constructor(options: CreditOptions) {
    this.#options = options;
  }

  /** What may be handed over now; for the registration. */
  get current(): Credit {
    return this.#failing || this.#stopped ? NONE : this.#options.hold;
  }

  get failing(): boolean {
    return this.#failing;
  }

  /** A link stands; its registration said this. */
  attach(announced: Credit): void {
    this.#announced = announced;
    this.#announce();
  }

  detach(): void {
    this.#announced = undefined;
  }

  /** Makes room for a delivery; false when there is none, and then it must not be taken on. What was held before a restart always has room. */
  take(key: string, textChars: number, options: { readonly creditKnown: boolean; readonly recovered?: boolean }): boolean {
    if (this.#taken.has(key)) return true;
    const { hold } = this.#options;
    const bytes = textChars + CREDIT_LIMITS.overheadBytes;
    const deliveries = options.creditKnown ? hold.deliveries : Math.max(hold.deliveries, CREDIT_LIMITS.deliveriesUnasked);
    const fits = (): boolean => this.#taken.size === 0 || (this.#taken.size < deliveries && this.#takenBytes + bytes <= hold.bytes);
    if (options.recovered !== true && !fits()) {
      this.#forgetEnded();
      if (!fits()) {
        // It believes something else than we do.
        this.#announced = undefined;
        this.#announce();
        return false;
      }
    }
    this.#taken.set(key, bytes);
    this.#takenBytes += bytes;
    return true;
  }

  /** The ledger could not be written. */
  ledgerFailing(): void {
    if (this.#failing || this.#stopped) return;
    this.#failing = true;
    this.#options.log.warn("No more events are asked for until the ledger can be written");
    this.#announce();
    this.#probeLater();
  }

  /** Takes nothing more on. */
  stop(): void {
    this.#stopped = true;
    this.#probing?.cancel();
    this.#announce();
  }

  #forgetEnded(): void {
    for (const [key, bytes] of this.#taken) {
      if (this.#options.holds(key)) continue;
      this.#taken.delete(key);
      this.#takenBytes -= bytes;
    }
  }

  #probeLater(): void {
    this.#probing = this.#options.ports.timers.after(CREDIT_LIMITS.probeMs, () => void this.#probe(), { background: true });
  }

  async #probe(): Promise<void> {
    const { ledger, log } = this.#options;
    try {
      await ledger.probe();
    } catch (error) {
      log.debug("The ledger still cannot be written", { error: messageOf(error) });
      if (!this.#stopped) this.#probeLater();
      return;
    }
    if (this.#stopped) return;
    this.#failing = false;
    log.info("The ledger can be written; events are asked for again");
    this.#announce();
  }

  /** Nothing more is said at once; more, when it has settled. */
  #announce(): void {
    this.#announcing?.cancel();
    this.#announcing = undefined;
    if (this.current.deliveries === 0) {
      this.#say();
      return;
    }
    this.#announcing = this.#options.ports.timers.after(CREDIT_LIMITS.announceAfterMs, () => this.#say(), { background: true });
  }

  #say(): void {
    const { deliveries, bytes } = this.current;
    if (this.#announced?.deliveries === deliveries && this.#announced.bytes === bytes) return;
    if (this.#options.send(JSON.stringify({ type: "credit", deliveries, bytes }))) this.#announced = { deliveries, bytes };
  }
}
