import { type EventDetail, type EventPage, isTerminal, LIMITS, OPEN_STATES } from "../../src/protocol/mod.ts";
import type { Dice } from "./dice.ts";
import { EventMaker, type Kind, type Made, type Mix } from "./events.ts";

export interface Accepted {
  readonly made: Made;
  readonly acceptedAtMs: number;
  /** How many deliveries it has had by now; another for each that was asked for. */
  revisions: number;
}

export interface LoadOptions {
  readonly url: string;
  readonly dice: Dice;
  readonly mix: Mix;
  /** Each hands in one event after the other. */
  readonly workers: number;
  /** More are not handed in while so many are open. */
  readonly maxOpen: number;
  /** An event of its own has ended; its object may be taken away. */
  readonly onEnded: (accepted: Accepted) => Promise<void>;
}

const REQUEST_TIMEOUT_MS = 10_000;
const READERS = 8;
const EVERY_MS = 150;

/**
 * Producers and operators who do not give up: what was not answered is asked again, under the same id, until there is an answer. A 202
 * is written down; from then on the event must end.
 */
export class Load {
  readonly accepted = new Map<string, Accepted>();
  /** How often an event was handed in again, because nobody answered. */
  resubmitted = 0;
  readonly #options: LoadOptions;
  readonly #open = new Map<string, Accepted>();
  #stopping = false;
  #closed = false;
  #running: Promise<unknown>[] = [];
  #reading: Promise<unknown> | undefined;
  #errands = new Set<Promise<void>>();
  #fault: Error | undefined;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** Accepted, and not seen as ended. */
  get open(): number {
    return this.#open.size;
  }

  start(): void {
    this.#running = Array.from({ length: this.#options.workers }, async (_, at) => this.#guarded(this.#work(at)));
    this.#reading = this.#guarded(this.#watch());
  }

  /** Throws what went wrong with a request that should have been answered otherwise. */
  check(): void {
    if (this.#fault !== undefined) throw this.#fault;
  }

  /** Writes down an event that somebody else handed in. */
  adopt(made: Made): void {
    const accepted: Accepted = { made, acceptedAtMs: Date.now(), revisions: 1 };
    this.accepted.set(made.id, accepted);
    this.#open.set(made.id, accepted);
  }

  /** No more are handed in; resolves when all that were accepted have been seen as ended. */
  async finish(timeoutMs: number): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
    const untilMs = performance.now() + timeoutMs;
    while (this.#open.size > 0 || this.#errands.size > 0) {
      this.check();
      if (performance.now() > untilMs) {
        throw new Error(`not all that was accepted ended within ${timeoutMs} ms`);
      }
      await Bun.sleep(20);
    }
    this.check();
    await this.stop();
  }

  /** How many are open, and all that is known of some. */
  async oldest(): Promise<string> {
    const open = [...this.#open.values()].toSorted((a, b) => a.acceptedAtMs - b.acceptedAtMs).map(({ made }) => made.id);
    const details = await Promise.all(open.slice(0, 5).map(async (id) => this.detail(id).then(storyOf, String)));
    return `${open.length} events are open (${open.slice(0, 30).join(" ")}), among them\n${details.join("\n")}`;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#closed = true;
    await Promise.all(this.#running);
    await this.#reading;
    await Promise.all(this.#errands);
  }

  /** An event as the control plane tells it; asks until it answers. */
  async detail(id: string): Promise<EventDetail | undefined> {
    const response = await this.#ask("GET", `/v1/events/${encodeURIComponent(id)}`);
    if (response === undefined) return undefined;
    if (response.status !== 200) throw new Error(`event ${id} was accepted, and now: ${response.status} ${response.text}`);
    return JSON.parse(response.text) as EventDetail;
  }

  async #guarded(work: Promise<unknown>): Promise<void> {
    try {
      await work;
    } catch (error) {
      this.#fault ??= error instanceof Error ? error : new Error(String(error));
      this.#stopping = true;
      this.#closed = true;
    }
  }

  #errand(work: Promise<void>): void {
    const errand = this.#guarded(work).finally(() => this.#errands.delete(errand));
    this.#errands.add(errand);
  }

  async #work(at: number): Promise<void> {
    const { dice, mix, maxOpen } = this.#options;
    const maker = new EventMaker(at, dice);
    while (!this.#stopping) {
      if (this.#open.size >= maxOpen) {
        await Bun.sleep(5);
        continue;
      }
      await this.#submit(maker.make(dice.pick(mix)));
    }
  }

  async #submit(made: Made): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#ask("POST", "/v1/events", made.body);
      if (attempt > 1) this.resubmitted += 1;
      if (answer?.status === 202) break;
      if (answer !== undefined && answer.status !== 429 && answer.status !== 503)
        throw new Error(`event ${made.id} was refused at attempt ${attempt}: ${answer.status} ${answer.text}`);
      if (this.#closed) return;
      await Bun.sleep(this.#options.dice.between(5, 60));
    }
    this.adopt(made);
    if (made.kind === "dropped") this.#errand(this.#cancel(made.id, this.#options.dice.between(0, 20)));
    if (made.kind === "recalled") this.#errand(this.#recall(made.id));
  }

  /** Undefined when nobody answered. */
  async #ask(method: string, path: string, body?: string): Promise<{ readonly status: number; readonly text: string } | undefined> {
    try {
      const response = await fetch(`${this.#options.url}${path}`, {
        method,
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        ...(body === undefined ? {} : { body, headers: { "content-type": "application/json" } }),
      });
      return { status: response.status, text: await response.text() };
    } catch {
      return undefined;
    }
  }

  async #cancel(id: string, afterMs: number): Promise<void> {
    await Bun.sleep(afterMs);
    while (!this.#closed) {
      const answer = await this.#ask("DELETE", `/v1/events/${encodeURIComponent(id)}`);
      if (answer !== undefined && [200, 202, 409].includes(answer.status)) return;
      if (answer !== undefined && answer.status < 500) throw new Error(`cancelling ${id}: ${answer.status} ${answer.text}`);
      await Bun.sleep(30);
    }
  }

  /** Cancels once the agent has it. */
  async #recall(id: string): Promise<void> {
    while (!this.#closed) {
      const detail = await this.detail(id);
      if (detail !== undefined && detail.state !== "queued") break;
      await Bun.sleep(50);
    }
    await this.#cancel(id, this.#options.dice.between(0, 200));
  }

  /** Asks for another revision, once: what was not answered may have been done, so the event itself is looked at. */
  async #again(accepted: Accepted): Promise<void> {
    const { id } = accepted.made;
    while (!this.#closed) {
      const detail = await this.detail(id);
      if (detail !== undefined && detail.revision > 1) return;
      const answer = detail === undefined ? undefined : await this.#ask("POST", `/v1/events/${encodeURIComponent(id)}/retry`);
      if (answer?.status === 202) return;
      if (answer !== undefined && answer.status < 500) throw new Error(`trying ${id} again: ${answer.status} ${answer.text}`);
      await Bun.sleep(30);
    }
  }

  /** One question for all: whatever was accepted before it and is not among the open ones has ended, and is looked at. */
  async #watch(): Promise<void> {
    while (!this.#closed) {
      await Bun.sleep(EVERY_MS);
      const asked = [...this.#open.values()];
      const answer = await this.#ask("GET", `/v1/events?state=${OPEN_STATES.join(",")}&limit=${LIMITS.pageMax}`);
      if (answer?.status !== 200) continue;
      const page = JSON.parse(answer.text) as EventPage;
      const open = new Set(page.items.map(({ id }) => id));
      // More than a page is open: then only those that are known to be waited for by name.
      const due = page.next_cursor === undefined ? asked.filter(({ made }) => !open.has(made.id)) : asked.slice(0, 50);
      let at = 0;
      await Promise.all(
        Array.from({ length: READERS }, async () => {
          for (let accepted = due[at++]; accepted !== undefined; accepted = due[at++]) await this.#look(accepted);
        }),
      );
    }
  }

  async #look(accepted: Accepted): Promise<void> {
    const { made } = accepted;
    const detail = await this.detail(made.id);
    if (detail === undefined || !isTerminal(detail.state) || detail.revision < accepted.revisions) {
      // To the end of the line, so that a few slow ones do not hide the rest.
      if (this.#open.delete(made.id)) this.#open.set(made.id, accepted);
      return;
    }
    if (AGAIN.has(made.kind) && accepted.revisions === 1) {
      accepted.revisions = 2;
      this.#errand(this.#again(accepted));
      return;
    }
    this.#open.delete(made.id);
    this.#errand(this.#options.onEnded(accepted));
  }
}

const AGAIN: ReadonlySet<Kind> = new Set<Kind>(["again"]);

/** What became of an event, a line for each entry of its log. */
export function storyOf(detail: EventDetail | undefined): string {
  if (detail === undefined) return "(no answer)";
  const lines = detail.log.map(
    ({ timestamp, revision, state, phase, message, details }) =>
      `  ${timestamp} r${revision} ${state} ${phase} ${message.slice(0, 120)} ${details === undefined ? "" : JSON.stringify(details).slice(0, 160)}`,
  );
  return [`${detail.id} r${detail.revision} ${detail.state}`, ...lines].join("\n");
}
