import { type TimerHandle, type Timers, TransporterError, workerHref } from "../../kit/mod.ts";
import type { Json } from "../http/json.ts";
import type { Verdict } from "./cel.ts";

export type CelTask =
  | { readonly kind: "check"; readonly expressions: readonly string[] }
  | { readonly kind: "judge"; readonly expressions: readonly string[]; readonly object: Json };

export type CelAnswer =
  | { readonly kind: "started" }
  | { readonly kind: "checked"; readonly problems: readonly (string | undefined)[] }
  | { readonly kind: "judged"; readonly verdicts: readonly Verdict[] }
  | { readonly kind: "broken"; readonly why: string };

/** A condition over one object takes microseconds; what takes this long would never end. */
const EVALUATION_MS = 3_000;
const START_MS = 60_000;
/** A thread without work is ended, so that its memory goes back. */
const IDLE_MS = 5_000;

interface Job {
  readonly task: CelTask;
  readonly settle: (answer: CelAnswer) => void;
  readonly fail: (error: TransporterError) => void;
}

export interface ExpressionsOptions {
  readonly timers: Timers;
  /** For one task. */
  readonly limitMs?: number;
}

/** Evaluates CEL in a thread of its own, one task after the other, each within its time. */
export class Expressions {
  readonly #timers: Timers;
  readonly #limitMs: number;
  readonly #queue: Job[] = [];
  #current: Job | undefined;
  #started = false;
  #worker: Worker | undefined;
  #timer: TimerHandle | undefined;

  constructor({ timers, limitMs = EVALUATION_MS }: ExpressionsOptions) {
    this.#timers = timers;
    this.#limitMs = limitMs;
  }

  /** For each expression why it can never be used, or undefined. */
  async check(expressions: readonly string[]): Promise<readonly (string | undefined)[]> {
    const answer = await this.#run({ kind: "check", expressions });
    return answer.kind === "checked" ? answer.problems : [];
  }

  /** What each expression says of the object. Throws INVALID_EXPRESSION when that takes too long. */
  async judge(expressions: readonly string[], object: Json): Promise<readonly Verdict[]> {
    const answer = await this.#run({ kind: "judge", expressions, object });
    return answer.kind === "judged" ? answer.verdicts : [];
  }

  #run(task: CelTask): Promise<CelAnswer> {
    return new Promise((settle, fail) => {
      this.#queue.push({ task, settle, fail });
      if (this.#worker === undefined) this.#start();
      else if (this.#started) this.#next();
    });
  }

  #start(): void {
    const worker = new Worker(workerHref("k8s/ready/cel.worker.ts"), { smol: true });
    this.#worker = worker;
    worker.addEventListener("message", (message: MessageEvent<CelAnswer>) => {
      if (this.#worker === worker) this.#answered(message.data);
    });
    worker.addEventListener("error", (event) => {
      if (this.#worker === worker) this.#end(new TransporterError("INTERNAL", `expressions cannot be evaluated: ${event.message}`));
    });
    // Its task waits until it has started: a busy machine must not count as a slow expression.
    this.#arm(START_MS, () => this.#end(new TransporterError("INTERNAL", "expressions cannot be evaluated: their thread did not start")));
  }

  #answered(answer: CelAnswer): void {
    const job = this.#current;
    this.#current = undefined;
    this.#started = true;
    if (answer.kind === "broken") job?.fail(new TransporterError("INTERNAL", `expressions cannot be evaluated: ${answer.why}`));
    else job?.settle(answer);
    this.#arm(IDLE_MS, () => this.#end(undefined));
    this.#next();
  }

  #next(): void {
    if (this.#current !== undefined || this.#worker === undefined) return;
    const job = this.#queue.shift();
    if (job === undefined) return;
    this.#current = job;
    this.#arm(this.#limitMs, () => this.#end(tooSlow(job.task, this.#limitMs)));
    this.#worker.postMessage(job.task);
  }

  #arm(ms: number, run: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#timers.after(ms, run, { background: true });
  }

  /** Ends the thread; with an error whatever it was to do as well. */
  #end(error: TransporterError | undefined): void {
    this.#timer?.cancel();
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#started = false;
    const left = this.#current === undefined ? this.#queue.splice(0) : [this.#current, ...this.#queue.splice(0)];
    this.#current = undefined;
    if (error !== undefined) for (const job of left) job.fail(error);
  }
}

function tooSlow(task: CelTask, limitMs: number): TransporterError {
  const texts = task.expressions.map((expression) => JSON.stringify(quoted(expression)));
  return new TransporterError("INVALID_EXPRESSION", `${texts.join(", ")} took longer than ${limitMs / 1000} s and was stopped`, {
    remedy: "Write the expression so that it does not search nested lists, and its patterns without nested repetitions.",
  });
}

/** An expression as it stands in a message. */
export function quoted(expression: string): string {
  const line = expression.replaceAll(/\s+/g, " ").trim();
  return line.length > 200 ? `${line.slice(0, 200)}…` : line;
}
