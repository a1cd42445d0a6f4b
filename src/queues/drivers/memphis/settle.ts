import { type Logger, messageOf, type Ports } from "../../../kit/mod.ts";
import type { Settlement } from "../../port.ts";
import { isUnserved } from "./faults.ts";
import type { Held } from "./hand.ts";
import type { MemphisLink } from "./link.ts";
import type { MemphisSettings } from "./settings.ts";
import type { Tuning } from "./tuning.ts";

/** After so many tries the broker does not know the delivery any more; the message comes again, and is settled then. */
const MOST_TRIES = 30;
/** The broker keeps the reason in a database and shows it in a list. */
const MOST_REASON_CHARACTERS = 2_000;

/** The reason of a dead letter, as people read it in the broker's own list. */
export function reasonText(settlement: Extract<Settlement, { kind: "dead" }>): string {
  const event = settlement.eventId === undefined ? "" : ` [event ${settlement.eventId}]`;
  return `${settlement.code}: ${settlement.reason.slice(0, MOST_REASON_CHARACTERS)}${event}`;
}

/** The notice by which the broker copies a message into its dead letters. */
export function deadLetterNotice(settings: MemphisSettings, held: Held, reason: string): Record<string, unknown> {
  return {
    station_name: held.source.station.replaceAll(".", "#"),
    error: reason,
    partition: held.source.partition.number,
    cg_name: settings.consumer,
    seq: held.sequence,
  };
}

/** Tells the broker what became of messages, until it says that it knows. Never gives one back: each has ten deliveries and no more. */
export class Settler {
  readonly #link: MemphisLink;
  readonly #settings: MemphisSettings;
  readonly #tuning: Tuning;
  readonly #ports: Ports;
  readonly #log: Logger;
  #turn: Promise<void> | undefined;

  constructor(link: MemphisLink, settings: MemphisSettings, tuning: Tuning, ports: Ports, log: Logger) {
    this.#link = link;
    this.#settings = settings;
    this.#tuning = tuning;
    this.#ports = ports;
    this.#log = log;
  }

  /** It lives on for another ack wait. */
  keepAlive(held: Held): void {
    if (held.reply !== undefined && this.#link.up) this.#link.now().publish(held.reply, "+WPI");
  }

  /** Resolves when the broker has confirmed, or when nothing is to be gained by telling it again. */
  async settle(held: Held, settlement: Settlement): Promise<void> {
    if (held.letter !== undefined) {
      await this.#settleLetter(held.letter, settlement);
      return;
    }
    if (settlement.kind === "dead") {
      const reason = reasonText(settlement);
      const notice = JSON.stringify(deadLetterNotice(this.#settings, held, reason));
      // The notice first: the broker copies the message out of its stream, which may let go of it once nobody is to have it any more. Should
      // we die in between, it comes again, and the broker puts the second notice to the first.
      await this.#insist("a dead letter", async () => {
        this.#link.now().publish("$memphis_nacked_dls", notice);
        await this.#link.flush(this.#tuning.answerMs);
      });
    }
    await this.#together();
    const word = settlement.kind === "done" ? "+ACK" : "+TERM";
    await this.#insist("the end of a message", async () => {
      // Read anew each time: a delivery that came meanwhile has a subject of its own.
      if (held.reply !== undefined) await this.#link.request(held.reply, word, "the end of a message", this.#tuning.answerMs);
    });
  }

  /** One that was sent again out of the dead letters stays there unless it is done. */
  async #settleLetter(letter: number, settlement: Settlement): Promise<void> {
    if (settlement.kind === "dead") {
      this.#log.info("a message out of the dead letters of Memphis was refused again and stays there", { letter, code: settlement.code });
      return;
    }
    const body = JSON.stringify({ id: letter, cg_name: this.#settings.consumer });
    await this.#insist("the end of a dead letter", async () => {
      this.#link.now().publish("$memphis_pm_acks", body);
      await this.#link.flush(this.#tuning.answerMs);
    });
  }

  /** What is settled in one turn goes out in one write, which is what telling the broker costs most. */
  async #together(): Promise<void> {
    this.#turn ??= new Promise((resolve) => {
      this.#ports.timers.soon(() => {
        this.#turn = undefined;
        resolve();
      });
    });
    await this.#turn;
  }

  async #insist(what: string, tell: () => Promise<void>): Promise<void> {
    for (let attempt = 1; !this.#link.closed; attempt += 1) {
      try {
        await tell();
        return;
      } catch (error) {
        // Time without a connection is no try: nobody was asked.
        if (!this.#link.up) attempt -= 1;
        if (attempt >= MOST_TRIES) {
          this.#log.warn("Memphis does not confirm what became of a message; it will come again", { what, error: messageOf(error) });
          return;
        }
        await this.#ports.timers.sleep(isUnserved(error) ? 500 : 200);
      }
    }
  }
}
