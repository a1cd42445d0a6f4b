import { failpoint, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { DeliveryRow } from "../stores/mod.ts";
import { cancelFrame } from "./delivery-frame.ts";
import type { Lane } from "./lane.ts";

const AGAIN_MS = 10_000;
/** A wish whose delivery is not in flight on so many rounds came too late. */
const MISSED_ROUNDS = 2;

/** Tells agents to give deliveries back: at once, right after each hand-over, and again until the delivery has ended. */
export class Recalls {
  readonly #ports: Ports;
  readonly #lanes: () => Iterable<Lane>;
  #timer: TimerHandle | undefined;

  constructor(ports: Ports, lanes: () => Iterable<Lane>) {
    this.#ports = ports;
    this.#lanes = lanes;
  }

  start(): void {
    this.#timer = this.#ports.timers.every(AGAIN_MS, () => this.#sayAgain(), { background: true });
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** Somebody wants it back. It may be on its way out only now, so the wish is kept whether it is in flight or not. */
  wish(lane: Lane, eventId: string, revision: number): void {
    if (!lane.cancels) return;
    lane.wishes.set(eventId, { revision, missed: 0 });
    if (lane.inFlight.get(eventId)?.revision === revision) this.tell(lane, eventId, revision);
  }

  /** It was handed over just now. */
  sent(lane: Lane, { eventId, revision, cancelRequested }: DeliveryRow): void {
    if (cancelRequested || lane.wishes.get(eventId)?.revision === revision) this.wish(lane, eventId, revision);
  }

  /** It has ended. */
  done(lane: Lane, eventId: string, revision: number | undefined): void {
    if (revision === undefined || lane.wishes.get(eventId)?.revision === revision) lane.wishes.delete(eventId);
  }

  tell(lane: Lane, eventId: string, revision: number): void {
    if (lane.cancels && lane.session.send(cancelFrame(eventId, revision), { urgent: true })) failpoint("cp.cancel.sent");
  }

  #sayAgain(): void {
    for (const lane of this.#lanes()) {
      for (const [eventId, wish] of lane.wishes) {
        if (lane.inFlight.get(eventId)?.revision === wish.revision) {
          wish.missed = 0;
          this.tell(lane, eventId, wish.revision);
          continue;
        }
        wish.missed += 1;
        if (wish.missed >= MISSED_ROUNDS) lane.wishes.delete(eventId);
      }
    }
  }
}
