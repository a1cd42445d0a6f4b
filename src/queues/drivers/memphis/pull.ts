import { createInbox, type Msg, type Subscription } from "@nats-io/nats-core";
import { messageOf, type Ports } from "../../../kit/mod.ts";
import type { MemphisLink } from "./link.ts";

/** One stream that is consumed from, by the durable of our group. */
export interface PullSource {
  readonly stream: string;
  readonly durable: string;
}

/**
 * How a pull ended. `full`: all that was asked for came. `empty`: the broker has no more now. `gone`: there is no such durable, stream, or
 * server for them. `silent`: nothing came in time, not even an end. `left`: we ended it.
 */
export type PullEnd = { readonly kind: "full" | "empty" | "silent" | "left" } | { readonly kind: "gone"; readonly why: string };

/** Either takes what is there now, or waits until something comes. */
export type PullMode = { readonly kind: "now" } | { readonly kind: "wait"; readonly expiresMs: number };

/** The body of a pull request. */
export function pullRequest(batch: number, mode: PullMode): Record<string, unknown> {
  return mode.kind === "now" ? { batch, no_wait: true } : { expires: mode.expiresMs * 1_000_000, batch };
}

const LEAVE_MS = 1_000;

/**
 * One request for messages. Each message goes to `onMessage` as it comes, also after the end: what the broker has handed out is counted as
 * a delivery, so it is never dropped here.
 */
export class Pull {
  readonly ended: Promise<PullEnd>;
  readonly #link: MemphisLink;
  readonly #subscription: Subscription;
  readonly #end: (end: PullEnd) => void;
  #missing: number;
  #over = false;

  constructor(
    link: MemphisLink,
    ports: Ports,
    graceMs: number,
    source: PullSource,
    batch: number,
    mode: PullMode,
    onMessage: (message: Msg) => void,
  ) {
    this.#link = link;
    this.#missing = batch;
    const ended = Promise.withResolvers<PullEnd>();
    this.ended = ended.promise;
    const connection = link.now();
    const inbox = createInbox();
    this.#subscription = connection.subscribe(inbox, {
      callback: (error, message) => {
        if (error !== null) this.#end({ kind: "gone", why: error.message });
        else if (message.subject === inbox) this.#status(message);
        else {
          this.#missing -= 1;
          onMessage(message);
          if (this.#missing <= 0) this.#end({ kind: "full" });
        }
      },
    });
    const deadline = ports.timers.after(graceMs + (mode.kind === "wait" ? mode.expiresMs : 0), () => this.#end({ kind: "silent" }));
    const forget = link.onChange((up) => {
      if (!up) this.#end({ kind: "left" });
    });
    this.#end = (end) => {
      if (this.#over) return;
      this.#over = true;
      deadline.cancel();
      forget();
      ended.resolve(end);
      // The broker is done with it where it said so; where not, what is still on its way must find us.
      if (end.kind === "silent" || end.kind === "left") void link.leave(this.#subscription, LEAVE_MS);
      else this.#subscription.unsubscribe();
    };
    const subject = `$JS.API.CONSUMER.MSG.NEXT.${source.stream}.${source.durable}`;
    try {
      connection.publish(subject, JSON.stringify(pullRequest(batch, mode)), { reply: inbox });
    } catch (error) {
      this.#end({ kind: "gone", why: messageOf(error) });
    }
  }

  /** Asks for no more. What was on its way still comes; resolves when it has, or when the broker does not answer. */
  async leave(): Promise<void> {
    if (this.#over) return;
    this.#end({ kind: "left" });
    await this.#link.leave(this.#subscription, LEAVE_MS);
  }

  #status(message: Msg): void {
    const code = message.headers?.code ?? 0;
    const said = message.headers?.description ?? "";
    if (code === 100) return;
    if (code === 404 || code === 408) this.#end({ kind: "empty" });
    // Also where too many wait at once or the server is about to stop: asking again later is all there is to do.
    else if (code === 409 && !/deleted|push based/i.test(said)) this.#end({ kind: "empty" });
    else this.#end({ kind: "gone", why: code === 503 ? "nobody serves it" : `${code} ${said}` });
  }
}
