import { failpoint, type Logger, messageOf, type Timers, TransporterError } from "../../../kit/mod.ts";
import { isRedisReply, type RedisLink } from "../../../redis/mod.ts";
import type { Word } from "../../port.ts";
import { luaJson } from "./codes.ts";
import { ENGINE, ENGINE_SHA } from "./engine.ts";

/** Puts a long text beside the operations; answers its number. */
export type Put = (text: string | Buffer) => number;
/** What an operation was answered: JSON whose shape only the operation knows, and the long texts beside it. */
export type Answer = unknown;
export type Take = (at: unknown) => string;

/** One operation of the engine. */
export interface Operation<T> {
  /** Whether it changes anything that must not happen twice. */
  readonly writes: boolean;
  /** How long it takes, in small operations; one by default. */
  readonly weight?: number;
  build(put: Put): readonly unknown[];
  read(answer: Answer, take: Take): T;
  words?(outcome: T): readonly Word[];
}

interface Asked {
  readonly operation: Operation<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Batch {
  /** 0 where it only looks. */
  readonly number: number;
  readonly asked: readonly Asked[];
  readonly json: string;
  readonly raws: readonly (string | Buffer)[];
  state: "sent" | "failed";
  failure: unknown;
  /** When it is given up, once it failed; monotonic. */
  giveUpMs: number | undefined;
  /** The server does not know the script: it goes along. */
  whole: boolean;
}

export interface CallsOptions {
  readonly link: RedisLink;
  readonly clientId: string;
  readonly timers: Timers;
  readonly clock: { monotonic(): number };
  readonly log: Logger;
  /** Told of every call that is durable. */
  readonly durable: (words: readonly Word[]) => void;
}

/** A script holds up everybody at the server, so one call takes some milliseconds at most. */
const MOST_WEIGHT = 96;
const MOST_BYTES = 1024 * 1024;
/** Calls on their way: the server works on one while the next comes. What is asked meanwhile gathers, which is cheaper for both. */
const MOST_ON_THE_WAY = 3;
/** How long a call whose outcome is not known is sent again. */
const GIVE_UP_MS = 3_000;
const LINGER_MS = 1;
const AGAIN_MS = 50;
/** What heals by itself, or has not happened at all. */
const HEALS = /^(LOADING|READONLY|BUSY|TRYAGAIN|CLUSTERDOWN|MASTERDOWN|ORDER|NOREPLICAS|UNBLOCKED)\b/;
const REPLICAS = "too few replicas";

/**
 * The way to the engine. Whatever is asked in one turn of the event loop goes together, in the order asked, as one call; several calls are on
 * their way, in order. A call that writes has a number, and the engine keeps its answer, so a call whose outcome is not known is sent again as
 * it was, until it is answered or given up. While the link is known to be down everything is refused at once.
 */
export class Calls {
  readonly #options: CallsOptions;
  readonly #key: string;
  readonly #wait: number;
  #queue: Asked[] = [];
  #scheduled = false;
  /** In order; the first is the oldest that has no answer. */
  #batches: Batch[] = [];
  #number = 0;
  #sentMs = 0;
  /** Some failed: nothing new goes out until they were answered or given up, or the order would be lost. */
  #repairing = false;
  #mending = false;
  #closed = false;

  constructor(options: CallsOptions) {
    this.#options = options;
    this.#key = `{${options.link.address.prefix}}:n`;
    this.#wait = options.link.address.wait;
    options.link.onState((state) => {
      if (state === "up" && this.#repairing) this.#repair();
    });
  }

  run<T>(operation: Operation<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new TransporterError("STORE_UNAVAILABLE", "the store is closed"));
    if (!this.#options.link.up) return Promise.reject(this.#away());
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    this.#queue.push({ operation, resolve: resolve as (value: unknown) => void, reject });
    this.#schedule();
    return promise;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const { timers, clock } = this.#options;
    const go = (): void => {
      this.#scheduled = false;
      this.#flush();
    };
    const waitMs = this.#sentMs + LINGER_MS - clock.monotonic();
    if (waitMs > 0 && this.#queue.length < MOST_WEIGHT / 2) timers.after(waitMs, go);
    else timers.soon(go);
  }

  /** Resolves when everything that was asked has an outcome. */
  async close(): Promise<void> {
    this.#closed = true;
    while (this.#queue.length > 0 || this.#batches.length > 0) await this.#options.timers.sleep(5);
  }

  #away(): TransporterError {
    return new TransporterError("STORE_UNAVAILABLE", `Redis at ${this.#options.link.address.location} is not connected`);
  }

  #flush(): void {
    while (this.#queue.length > 0 && !this.#repairing && this.#mayGo()) {
      const batch = this.#gather();
      if (batch.asked.length > 0) this.#send(batch);
    }
  }

  /** A call costs as much as some operations, at both ends: while one is on its way, only enough for a call of its own does not wait for it. */
  #mayGo(): boolean {
    const going = this.#batches.length;
    return going === 0 || (going < MOST_ON_THE_WAY && this.#queue.length >= MOST_WEIGHT / 2);
  }

  #gather(): Batch {
    const raws: (string | Buffer)[] = [];
    let bytes = 0;
    const put: Put = (text) => {
      bytes += text.length;
      return raws.push(text);
    };
    const operations: (readonly unknown[])[] = [];
    const asked: Asked[] = [];
    let weight = 0;
    let writes = false;
    let taken = 0;
    for (const one of this.#queue) {
      const { operation } = one;
      weight += operation.weight ?? 1;
      if (operations.length > 0 && (weight > MOST_WEIGHT || bytes > MOST_BYTES)) break;
      taken += 1;
      const before = raws.length;
      try {
        operations.push(operation.build(put));
        asked.push(one);
        writes ||= operation.writes;
      } catch (error) {
        // What cannot be written takes none of those asked for with it along.
        raws.length = before;
        one.reject(error);
      }
    }
    this.#queue.splice(0, taken);
    if (writes) this.#number += 1;
    const json = luaJson(operations);
    return { number: writes ? this.#number : 0, asked, json, raws, state: "sent", failure: undefined, giveUpMs: undefined, whole: false };
  }

  #send(batch: Batch): void {
    this.#sentMs = this.#options.clock.monotonic();
    this.#batches.push(batch);
    if (batch.number > 0) failpoint("cp.store.before-commit");
    this.#post(batch);
  }

  #post(batch: Batch): void {
    batch.state = "sent";
    this.#call(batch).then(
      (reply) => this.#answered(batch, reply),
      (error: unknown) => this.#failed(batch, error),
    );
  }

  async #call(batch: Batch): Promise<string[]> {
    const { client, address } = this.#options.link;
    const oldest = this.#batches.find((one) => one.number > 0)?.number ?? batch.number;
    const { clientId } = this.#options;
    const script = batch.whole ? ENGINE : ENGINE_SHA;
    const call = [script, 1, this.#key, clientId, batch.number, oldest, batch.json, ...batch.raws] as const;
    if (this.#wait === 0 || batch.number === 0) return (await (batch.whole ? client.eval(...call) : client.evalsha(...call))) as string[];
    // One way for both: a cluster must ask the same node.
    const results = await client
      .pipeline([
        [batch.whole ? "eval" : "evalsha", ...call],
        // Well before a connection is taken for dead: that the replicas do not have it is an answer.
        ["wait", this.#wait, Math.floor(Math.min(address.timeoutMs, GIVE_UP_MS) / 2)],
      ])
      .exec();
    const [done, waited] = results ?? [];
    if (done === undefined || waited === undefined) throw new Error("Connection is closed.");
    if (done[0] !== null) throw done[0];
    if (waited[0] !== null) throw waited[0];
    if (Number(waited[1]) < this.#wait) throw new Error(REPLICAS);
    return done[1] as string[];
  }

  #answered(batch: Batch, reply: string[]): void {
    this.#batches = this.#batches.filter((one) => one !== batch);
    if (batch.number > 0) failpoint("cp.store.after-commit");
    const words: Word[] = [];
    const take: Take = (at) => reply[Number(at) - 1] ?? "";
    const answers = JSON.parse(reply[0] ?? "[]") as unknown[];
    for (const [at, { operation, resolve, reject }] of batch.asked.entries()) {
      try {
        const answer = answers[at];
        if (typeof answer === "object" && answer !== null && "e" in answer) throw this.#fault(replyError(String(answer.e)));
        const outcome = operation.read(answer, take);
        if (operation.words !== undefined) words.push(...operation.words(outcome));
        resolve(outcome);
      } catch (error) {
        reject(error);
      }
    }
    if (words.length > 0) this.#options.durable(words);
    if (this.#repairing) this.#repair();
    else if (this.#queue.length > 0) this.#schedule();
  }

  #failed(batch: Batch, error: unknown): void {
    batch.state = "failed";
    batch.failure = error;
    const { clock, timers } = this.#options;
    if (batch.giveUpMs === undefined) {
      batch.giveUpMs = clock.monotonic() + GIVE_UP_MS;
      timers.after(GIVE_UP_MS + 1, () => this.#repair(), { background: true });
    }
    const text = messageOf(error);
    const refused = isRedisReply(error) && !HEALS.test(text) && !text.startsWith("NOSCRIPT");
    if (refused) this.#giveUp(batch);
    // A client that waits for an answer that never comes keeps the connection all the same.
    else if (!isRedisReply(error) && /timed? ?out/i.test(text)) this.#options.link.reset();
    this.#repairing = true;
    this.#repair();
  }

  #giveUp(batch: Batch): void {
    this.#batches = this.#batches.filter((one) => one !== batch);
    const fault = this.#fault(batch.failure);
    // A refusal of the whole call, such as of a script that somebody killed, says nothing of any one thing that was asked for.
    const error = fault.kind === "bug" ? new TransporterError("STORE_UNAVAILABLE", fault.message, { cause: fault }) : fault;
    for (const { reject } of batch.asked) reject(error);
  }

  /** Sends again what failed, in order, once everything on its way has come back. */
  #repair(): void {
    if (this.#batches.some((batch) => batch.state === "sent")) return;
    const nowMs = this.#options.clock.monotonic();
    for (const batch of this.#batches) if ((batch.giveUpMs ?? 0) <= nowMs) this.#giveUp(batch);
    if (this.#batches.length === 0) {
      this.#repairing = false;
      if (this.#options.link.up) this.#flush();
      else for (const { reject } of this.#queue.splice(0)) reject(this.#away());
      return;
    }
    if (!this.#options.link.up || this.#mending) return;
    this.#mending = true;
    void this.#mend().finally(() => {
      this.#mending = false;
    });
  }

  async #mend(): Promise<void> {
    // With the first of them the server has it again.
    const [first] = this.#batches;
    if (first !== undefined) first.whole = this.#batches.some((batch) => messageOf(batch.failure).startsWith("NOSCRIPT"));
    // Never at once: a connection that is being ended still stands as up and refuses what is sent in the same turn, so that its end would never be seen.
    if (first?.whole !== true) await this.#options.timers.sleep(AGAIN_MS);
    if (!this.#options.link.up) return;
    for (const batch of this.#batches) if (batch.state === "failed") this.#post(batch);
  }

  #fault(failure: unknown): TransporterError {
    if (failure instanceof Error && failure.message === REPLICAS)
      return new TransporterError("STORE_UNAVAILABLE", `fewer than ${this.#wait} replicas of Redis have the change`, {
        remedy: "Bring the replicas back, or ask for fewer (wait= in the store's address).",
      });
    return this.#options.link.fault(failure);
  }
}

/** What the engine says of one operation, as the server would say it of a command. */
function replyError(text: string): Error {
  const error = new Error(text);
  error.name = "ReplyError";
  return error;
}
