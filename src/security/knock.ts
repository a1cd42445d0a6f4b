import { TransporterError } from "../kit/mod.ts";
import type { AttemptLimiter } from "./rate-limit.ts";

/** One attempt to come in: taken before anything is looked at, and given back when it was right. */
export class Knock {
  readonly #attempts: AttemptLimiter;
  readonly #address: string;
  #open = false;

  /** Throws TOO_MANY_ATTEMPTS. */
  constructor(attempts: AttemptLimiter, address: string) {
    this.#attempts = attempts;
    this.#address = address;
    this.#take();
  }

  /** What was shown so far is right, or it is not the fault of whoever knocks. */
  right(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#attempts.giveBack(this.#address);
  }

  /** It was wrong after all. */
  wrong(): void {
    if (this.#open) return;
    try {
      this.#take();
    } catch (error) {
      // He is refused anyway, for a better reason.
      if (!(error instanceof TransporterError)) throw error;
    }
  }

  #take(): void {
    this.#attempts.take(this.#address);
    this.#open = true;
  }
}
