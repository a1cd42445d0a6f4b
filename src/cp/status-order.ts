/**
 * Whether statuses come in the order in which they were sent. Acknowledgements are cumulative, so nothing is taken after one that is missing:
 * the agent is asked once to begin again. One that repeats an earlier number was taken before, or is sent again.
 */
export class StatusOrder {
  readonly #ask: (nth: number) => void;
  /** The number that the next status must have, and the round of counting that it belongs to. */
  #nextNth = 0;
  #round = 0;
  /** The round in which the agent was asked to begin again. */
  #askedIn = -1;

  /** `ask` is called with the number that came in place of the missing one. */
  constructor(ask: (nth: number) => void) {
    this.#ask = ask;
  }

  isNext(nth: number, round: number): boolean {
    if (round > this.#round && nth === 0) {
      this.#round = round;
      this.#nextNth = 1;
      return true;
    }
    if (round === this.#round && nth === this.#nextNth) {
      this.#nextNth += 1;
      return true;
    }
    if ((round > this.#round || (round === this.#round && nth > this.#nextNth)) && round > this.#askedIn) {
      this.#askedIn = round;
      this.#ask(nth);
    }
    return false;
  }
}
