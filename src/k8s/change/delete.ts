import { toTransporterError, TransporterError, messageOf } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { forEachLimited } from "../http/limiter.ts";
import { awaitGone, type Leaving, type Staying } from "../ready/await-gone.ts";
import { explainAllStaying, listStaying, type NotGone } from "../ready/explain-staying.ts";
import { deleteObject, type DeleteFinding, type DeleteOptions, lookAtDoomed, tryDelete } from "./delete-request.ts";
import { type Fault, faultsError, isClusterFault, MAX_FAULTS } from "../apply/faults.ts";
import type { Located } from "./locate.ts";
import type { Target } from "../apply/target.ts";
import { isForbidden } from "../apply/faults.ts";

export interface TryDeletionsOptions extends DeleteOptions {
  /** Nothing will be deleted: where the account may not try, that an object is there or not is better than no answer. */
  readonly lookOnly?: boolean;
  /** What is at fault is found again, and told, when its turn comes; the others are not refused for it. */
  readonly tolerant?: boolean;
  readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Has the API server judge every deletion by a dry run; changes nothing. Throws one error that names the first faults and counts all;
 * `details.faults` lists them.
 */
export async function tryDeletions(
  client: KubeClient,
  targets: readonly Located[],
  options: TryDeletionsOptions,
): Promise<Map<Located, DeleteFinding>> {
  const findings = new Map<Located, DeleteFinding>();
  const faults: Fault[] = [];
  let done = 0;
  await forEachLimited(targets, client.maxInFlight, async (target) => {
    if (faults.length >= MAX_FAULTS) return;
    try {
      findings.set(target, await tryDelete(client, target, options));
    } catch (error) {
      if (options.signal?.aborted === true || isClusterFault(error)) throw error;
      if (options.lookOnly === true && isForbidden(error)) findings.set(target, await lookAtDoomed(client, target, options));
      else if (options.tolerant !== true)
        faults.push({
          planned: target,
          error: error instanceof TransporterError ? error : new TransporterError("INTERNAL", messageOf(error), { cause: error }),
        });
    }
    done += 1;
    options.onProgress?.(done, targets.length);
  });
  if (faults.length > 0) throw faultsError(faults, targets, faults.length >= MAX_FAULTS);
  return findings;
}

/**
 * What became of one object.
 * - `deleted`: the API server took the deletion; `leaving` where it was not gone then.
 * - `absent`: there was nothing.
 * - `failed`: refused, or still there when the time was over; `error` says why.
 * - `pending`: never tried, because something before it failed or the event was called back.
 */
export interface DeletionOutcome {
  readonly target: Located;
  readonly status: "deleted" | "absent" | "failed" | "pending";
  readonly leaving: boolean;
  readonly uid: string | undefined;
  /** For people; empty where the status says it all. */
  readonly message: string;
  readonly error: TransporterError | undefined;
  /** A deletion was sent and nobody knows whether it took effect. */
  readonly uncertain: boolean;
}

export interface DeleteBatchesOptions extends DeleteOptions {
  /** How long all the waiting together may take. */
  readonly timeoutMs: number;
  /** What fails does not keep others from being deleted, except what it leans on. */
  readonly goOn: boolean;
  /** What an object leans on: it stays while that object does. */
  readonly leansOn: (target: Located) => readonly Located[];
  readonly onProgress?: (done: number, total: number) => void;
  readonly onOutcome?: (outcome: DeletionOutcome) => void;
  readonly onWaiting?: (text: string) => void;
  /** Stop between two objects, and wait for nothing any more. */
  readonly halt?: AbortSignal;
}

function seconds(ms: number): string {
  return ms % 1000 === 0 ? `${ms / 1000} s` : `${ms} ms`;
}

/** What a wait that took too long ends with. */
function notGone(all: readonly NotGone[], timeoutMs: number, trouble: string | undefined): TransporterError {
  const more = trouble === undefined ? "" : `; at the end the API server could not be asked: ${trouble}`;
  return new TransporterError("VERIFY_TIMEOUT", `not gone after ${seconds(timeoutMs)}: ${listStaying(all)}${more}`, {
    details: {
      not_gone: all.slice(0, 100).map(({ staying, message }) => ({ object: staying.target.label, message })),
      not_gone_count: all.length,
    },
    remedy: "Its deletion goes on without this event. The message says what holds it; give a longer verify_timeout if it only needs time.",
  });
}

/** What is deleted after all the time for waiting is over gets this long: most goes at once. */
const LAST_LOOK_MS = 1_000;

/** One run of `deleteBatches`. */
class Run {
  readonly #client: KubeClient;
  readonly #batches: readonly (readonly Located[])[];
  readonly #findings: ReadonlyMap<Located, DeleteFinding>;
  readonly #options: DeleteBatchesOptions;
  /** For what changes nothing: ended by either signal. */
  readonly #looking: AbortSignal | undefined;
  readonly #outcomes = new Map<Target, DeletionOutcome>();
  /** What has to stay, and because of what. */
  readonly #kept = new Map<Located, Located>();
  readonly #total: number;
  #waitedMs = 0;
  #failed = false;

  constructor(
    client: KubeClient,
    batches: readonly (readonly Located[])[],
    findings: ReadonlyMap<Located, DeleteFinding>,
    options: DeleteBatchesOptions,
  ) {
    this.#client = client;
    this.#batches = batches;
    this.#findings = findings;
    this.#options = options;
    this.#total = batches.reduce((sum, batch) => sum + batch.length, 0);
    const { signal, halt } = options;
    this.#looking = signal === undefined || halt === undefined ? (signal ?? halt) : AbortSignal.any([signal, halt]);
  }

  get #ended(): boolean {
    return this.#options.halt?.aborted === true || (this.#failed && !this.#options.goOn);
  }

  async run(): Promise<void> {
    for (const batch of this.#batches) {
      if (this.#ended) return;
      await forEachLimited(batch, this.#client.maxInFlight, async (target) => this.#one(target));
      if (this.#ended) return;
      await this.#awaitBatch(batch);
    }
  }

  async #one(target: Located): Promise<void> {
    if (this.#options.halt?.aborted === true || this.#outcomes.has(target)) return;
    const holder = this.#kept.get(target);
    if (holder !== undefined) {
      this.#record({ ...this.#outcome(target, "pending"), message: `left, because ${holder.label} could not be deleted` });
      this.#keep(target);
      return;
    }
    try {
      const finding = this.#findings.get(target) ?? (await tryDelete(this.#client, target, this.#options));
      const { state, uid } = await deleteObject(this.#client, target, finding, this.#options);
      this.#record({ ...this.#outcome(target, state === "absent" ? "absent" : "deleted"), uid, leaving: state === "leaving" });
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      const failure = toTransporterError(error);
      this.#fail(target, failure, failure.message, failure.details["maybe_done"] === true);
      if (isClusterFault(error)) throw error;
    }
  }

  async #awaitBatch(batch: readonly Located[]): Promise<void> {
    const leaving = batch.flatMap((target): Leaving[] => {
      const outcome = this.#outcomes.get(target);
      return outcome?.leaving === true ? [{ target, uid: outcome.uid }] : [];
    });
    if (leaving.length === 0) return;
    const { clock } = this.#client.ports;
    const beganMs = clock.monotonic();
    const ending = await awaitGone(this.#client, leaving, {
      timeoutMs: Math.max(LAST_LOOK_MS, this.#options.timeoutMs - this.#waitedMs),
      signal: this.#looking,
      onGone: (target) => {
        const outcome = this.#outcomes.get(target);
        if (outcome !== undefined) this.#record({ ...outcome, leaving: false });
      },
      onWaiting: (staying) => void this.#say(staying),
    });
    this.#waitedMs += clock.monotonic() - beganMs;
    if (ending.status === "gone") {
      for (const target of batch) {
        const outcome = this.#outcomes.get(target);
        if (ending.remade.has(target) && outcome !== undefined)
          this.#record({ ...outcome, message: "Resource deleted; something made another of the same name" });
      }
      return;
    }
    const all = await explainAllStaying(this.#client, ending.staying, this.#options.signal);
    const error = notGone(all, this.#options.timeoutMs, ending.trouble);
    for (const { staying, message } of all) {
      const known = this.#outcomes.get(staying.target);
      if (known !== undefined) this.#fail(known.target, error, `not gone: ${message}`);
    }
  }

  async #say(staying: readonly Staying[]): Promise<void> {
    try {
      const all = await explainAllStaying(this.#client, staying, this.#looking);
      const count = all.length === 1 ? "" : `${all.length} objects: `;
      this.#options.onWaiting?.(`waiting until gone: ${count}${listStaying(all, 3)}`);
    } catch (error) {
      this.#client.log.debug("No explanation", { error: messageOf(error) });
    }
  }

  #outcome(target: Located, status: DeletionOutcome["status"]): DeletionOutcome {
    return { target, status, leaving: false, uid: undefined, message: "", error: undefined, uncertain: false };
  }

  #fail(target: Located, error: TransporterError, message: string, uncertain = false): void {
    this.#failed = true;
    this.#record({ ...this.#outcome(target, "failed"), message, error, uncertain });
    this.#keep(target);
  }

  /** What this leans on must not go before it. */
  #keep(target: Located): void {
    for (const on of this.#options.leansOn(target)) if (!this.#kept.has(on)) this.#kept.set(on, target);
  }

  #record(outcome: DeletionOutcome): void {
    this.#outcomes.set(outcome.target, outcome);
    this.#options.onOutcome?.(outcome);
    this.#options.onProgress?.(this.#outcomes.size, this.#total);
  }

  get failed(): boolean {
    return this.#failed;
  }

  finish(objects: readonly Located[]): DeletionOutcome[] {
    const halted = this.#options.halt?.aborted === true && !this.#failed;
    const message = `not tried, because ${halted ? "the event was cancelled" : "something before it failed"}`;
    return objects.map((target) => {
      const known = this.#outcomes.get(target);
      if (known !== undefined) return known;
      const pending = { ...this.#outcome(target, "pending"), message };
      this.#options.onOutcome?.(pending);
      return pending;
    });
  }
}

/**
 * Deletes batch by batch and waits, by watching, until one is gone before the next is begun: what others lean on stays until they are gone.
 * When an object fails, the rest of its batch is still deleted and later batches are not touched. Resolves to all outcomes in the order of
 * `objects`, failed, halted or not; throws only the signal's reason.
 */
export async function deleteBatches(
  client: KubeClient,
  objects: readonly Located[],
  batches: readonly (readonly Located[])[],
  findings: ReadonlyMap<Located, DeleteFinding>,
  options: DeleteBatchesOptions,
): Promise<DeletionOutcome[]> {
  const run = new Run(client, batches, findings, options);
  try {
    await run.run();
  } catch (error) {
    options.signal?.throwIfAborted();
    if (options.halt?.aborted === true && error === options.halt.reason) return run.finish(objects);
    const infrastructure = toTransporterError(error);
    client.log.warn("Deleting ended early", { error: infrastructure.message, code: infrastructure.code });
    if (!run.failed) throw infrastructure;
  }
  return run.finish(objects);
}
