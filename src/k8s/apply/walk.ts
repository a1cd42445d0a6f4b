import { TransporterError, toTransporterError } from "../../kit/mod.ts";
import { type LeaningReason, type ParsedObject, REASONS, waveOf } from "../../manifests/mod.ts";
import { awaitServing } from "../ready/await-serving.ts";
import { awaitTargets, type Unready, type Unreadiness } from "../ready/verify.ts";
import type { KubeClient } from "../http/client.ts";
import { forEachLimited } from "../http/limiter.ts";
import type { ApplyPlanOptions, ResourceOutcome } from "./apply.ts";
import { type Fault, isClusterFault } from "./faults.ts";
import { HoldUps } from "./hold-ups.ts";
import type { Plan, PlannedBatch, PlannedObject } from "./plan.ts";
import { sectionsOf, type Strand, strandsOf } from "./strands.ts";
import type { Target } from "./target.ts";
import type { Finding } from "./finding.ts";
import { dryRunAll, type Validation } from "./validate.ts";
import { writeObject } from "./write-object.ts";

/** How long namespaces and definitions may take to stand before what leans on them fails. */
const PREREQUISITE_MS = 60_000;
const READY_MS = 120_000;
/** Without these the API server cannot judge what leans on them. */
const NEEDED_TO_TRY: ReadonlySet<LeaningReason> = new Set(["namespace", "definition", "conversion"]);
/** API servers hear of webhooks and policies by a watch, and nothing tells when they have. */
const SETTLE_MS = 1_000;

function isNamespace({ ref }: Target): boolean {
  return ref.group === "" && ref.kind === "Namespace";
}

function isDefinition({ ref }: Target): boolean {
  return ref.group === "apiextensions.k8s.io" && ref.kind === "CustomResourceDefinition";
}

/** Who else has a word while something is waited for. */
interface Heeding {
  readonly signal?: AbortSignal;
  readonly onReady?: (target: Target) => void;
}

/** Namespaces and definitions are waited for by what comes right after them, which may be of the same section. */
function hasPrerequisites(section: readonly PlannedBatch[]): boolean {
  return section.some(({ awaits }) => awaits.some((planned) => isNamespace(planned) || isDefinition(planned)));
}

/** One run of `applyPlan`. */
export class Walk {
  readonly #client: KubeClient;
  readonly #plan: Plan;
  readonly #options: ApplyPlanOptions;
  readonly #findings: Map<PlannedObject, Finding>;
  readonly #deferred: Set<PlannedObject>;
  readonly #faults: readonly Fault[];
  /** For what changes nothing: ended by either signal. */
  readonly #looking: AbortSignal | undefined;
  readonly #waves: ReadonlyMap<Target, number>;
  readonly #holdUps: HoldUps;
  /** What was waited for, with success. */
  readonly #stands = new Set<ParsedObject>();
  readonly outcomes = new Map<Target, ResourceOutcome>();
  readonly #done = new Set<PlannedObject>();
  readonly #planned: ReadonlyMap<ParsedObject, PlannedObject>;
  #trying: Promise<void> = Promise.resolve();
  #failed = false;

  constructor(client: KubeClient, plan: Plan, validation: Validation, options: ApplyPlanOptions) {
    this.#client = client;
    this.#plan = plan;
    this.#options = options;
    this.#findings = new Map(validation.findings);
    this.#deferred = new Set(validation.deferred);
    this.#faults = validation.faults;
    this.#waves = new Map(plan.batches.flatMap(({ objects, wave }) => objects.map((planned) => [planned, wave] as const)));
    this.#planned = new Map(plan.objects.map((planned) => [planned.parsed, planned]));
    this.#holdUps = new HoldUps(plan);
    const { signal, halt } = options;
    this.#looking = signal === undefined || halt === undefined ? (signal ?? halt) : AbortSignal.any([signal, halt]);
  }

  get #halted(): boolean {
    return this.#options.halt?.aborted === true;
  }

  /** Something went wrong, and nothing further is to be begun. */
  get #ends(): boolean {
    return this.#failed && this.#options.goOn !== true;
  }

  async batches(): Promise<void> {
    this.#begin();
    let wave: number | undefined;
    for (const section of sectionsOf(this.#plan.batches)) {
      const isFirst = wave !== section[0]?.wave;
      wave = section[0]?.wave;
      if (isFirst || hasPrerequisites(section)) await this.#inTurn(section);
      else await this.#abreast(section);
      if (this.#ends || this.#halted) return;
    }
  }

  async #inTurn(section: readonly PlannedBatch[]): Promise<void> {
    for (const batch of section) {
      await this.#await(batch);
      if (this.#ends) return;
      await this.#apply(batch);
      if (this.#ends || this.#halted) return;
    }
  }

  async #apply(batch: { readonly objects: readonly PlannedObject[]; readonly wave: number }): Promise<void> {
    // One after the other, so that nobody applies what somebody else is just trying.
    this.#trying = this.#trying.then(() => this.#tryDeferred());
    await this.#trying;
    if (this.#ends) return;
    this.#leaveHeldUp(batch);
    await forEachLimited(batch.objects, this.#client.maxInFlight, async (planned) => this.#one(planned));
  }

  /** Each object as soon as what it waits for itself is ready: what others wait for may take longer. */
  async #abreast(section: readonly PlannedBatch[]): Promise<void> {
    const strands = strandsOf(section, (planned) => this.#needsOf(planned));
    const end = new AbortController();
    const running = new Map<Strand, Promise<void>>();
    const begin = (strand: Strand): void => {
      if (running.has(strand) || end.signal.aborted || this.#halted) return;
      running.set(
        strand,
        this.#strand(strand).then(
          () => (this.#ends ? end.abort() : undefined),
          (error: unknown) => end.abort(error),
        ),
      );
    };
    const waiting = new Map<Target, Strand[]>();
    for (const strand of strands) {
      for (const target of strand.needs) {
        const there = waiting.get(target);
        if (there === undefined) waiting.set(target, [strand]);
        else there.push(strand);
      }
    }
    const onReady = (target: Target): void => {
      const planned = this.outcomes.get(target)?.planned;
      if (planned !== undefined) this.#noteStanding([planned]);
      for (const strand of waiting.get(target) ?? []) if (strand.needs.delete(target) && strand.needs.size === 0) begin(strand);
    };
    for (const strand of strands) if (strand.needs.size === 0) begin(strand);
    try {
      await this.#demandReady([...waiting.keys()], this.#options.readyTimeoutMs ?? READY_MS, { signal: end.signal, onReady });
    } catch (error) {
      if (!end.signal.aborted) throw error;
    } finally {
      await Promise.all(running.values());
    }
    if (this.#ends) return;
    end.signal.throwIfAborted();
    for (const strand of strands) if (!running.has(strand)) for (const batch of strand.batches) this.#leaveHeldUp(batch);
  }

  async #strand({ batches }: Strand): Promise<void> {
    const leanedOn = batches.flatMap(({ objects }) => objects.flatMap((planned) => this.#leanedOnBy(planned)));
    if (leanedOn.some((planned) => this.#isNewGuard(planned))) await this.#client.ports.timers.sleep(SETTLE_MS, this.#looking);
    for (const batch of batches) {
      if (this.#ends || this.#halted) return;
      await this.#apply(batch);
    }
  }

  #leanedOnBy({ parsed }: PlannedObject): PlannedObject[] {
    return this.#plan.leansOn(parsed).flatMap(({ on }) => this.#planned.get(on) ?? []);
  }

  /** What has to be ready before this object, and was not waited for yet. */
  #needsOf(planned: PlannedObject): Target[] {
    const inEvent = this.#plan
      .leansOn(planned.parsed)
      .filter(({ on, why }) => REASONS[why].ready && !this.#stands.has(on))
      .flatMap(({ on }) => this.#planned.get(on) ?? [])
      .filter((one) => this.outcomes.has(one) && !this.#holdUps.isBroken(one));
    return [...inEvent, ...this.#plan.dependsOutside(planned.parsed)];
  }

  /** What is known to be refused fails at once, so that what leans on it is not begun. */
  #begin(): void {
    for (const { parsed, label } of this.#plan.refused) {
      this.#failed = true;
      this.#holdUps.noteParsed(parsed, { label, how: "failed" }, waveOf(parsed.object));
    }
    const faults = new Map<Target, TransporterError>(this.#faults.map(({ planned, error }) => [planned, error]));
    for (const planned of faults.size === 0 ? [] : this.#plan.objects) {
      const error = faults.get(planned);
      if (error !== undefined) this.#fail(planned, error);
    }
  }

  /** What this batch waits for. */
  async #await(batch: PlannedBatch): Promise<void> {
    const awaited = batch.awaits.filter((planned) => this.outcomes.has(planned) && !this.#holdUps.isBroken(planned));
    const quick = awaited.filter((planned) => isNamespace(planned) || isDefinition(planned));
    const slow = awaited.filter((planned) => !isNamespace(planned) && !isDefinition(planned));
    await this.#demandReady(quick, PREREQUISITE_MS);
    if (this.#ends) return;
    this.#noteStanding(quick);
    if (quick.some(isDefinition)) await this.#awaitServing();
    await this.#demandReady([...slow, ...batch.awaitsOutside], this.#options.readyTimeoutMs ?? READY_MS);
    this.#noteStanding(slow);
    if (!this.#ends && slow.some((planned) => this.#isNewGuard(planned))) await this.#client.ports.timers.sleep(SETTLE_MS, this.#looking);
  }

  #noteStanding(awaited: readonly PlannedObject[]): void {
    for (const planned of awaited) if (!this.#holdUps.isBroken(planned)) this.#stands.add(planned.parsed);
  }

  /** A webhook's configuration or a policy that API servers may not heed yet. */
  #isNewGuard(planned: PlannedObject): boolean {
    return planned.ref.group === "admissionregistration.k8s.io" && this.outcomes.get(planned)?.status !== "unchanged";
  }

  /** Waits for the targets. Going on, the others are still waited for when one has failed. */
  async #demandReady(targets: readonly Target[], timeoutMs: number, heeding: Heeding = {}): Promise<void> {
    const { clock } = this.#client.ports;
    const untilMs = clock.monotonic() + timeoutMs;
    for (let open = targets, leftMs = timeoutMs; open.length > 0;) {
      const found = await this.#look(open, leftMs, heeding);
      if (found === undefined) return;
      const isFinal = found.error.code !== "VERIFY_FAILED" || this.#options.goOn !== true;
      const lagging = new Map(found.targets.filter(({ failed }) => isFinal || failed).map((one) => [one.target, one]));
      for (const one of lagging.values()) this.#lags(one);
      if (isFinal) return;
      open = open.filter((target) => !lagging.has(target));
      leftMs = Math.max(1, Math.ceil((untilMs - clock.monotonic()) / 1_000)) * 1_000;
    }
  }

  async #look(targets: readonly Target[], timeoutMs: number, { signal: end, onReady }: Heeding): Promise<Unreadiness | undefined> {
    const awaited = targets.map((target) => ({ target, generation: this.outcomes.get(target)?.generation }));
    const { rules, onWaiting, goOn, signal, halt } = this.#options;
    const signals = [this.#looking, end].filter((one) => one !== undefined);
    try {
      return await awaitTargets(this.#client, awaited, {
        timeoutMs,
        rules,
        signal: AbortSignal.any(signals),
        onWaiting: (text) => onWaiting?.(text),
        onReady,
      });
    } catch (error) {
      if (goOn !== true || end?.aborted === true || signal?.aborted === true || halt?.aborted === true || isClusterFault(error))
        throw error;
      // That it may not be looked at holds up nothing but what waits for it.
      const failure = toTransporterError(error);
      return { error: failure, targets: targets.map((target) => ({ target, failed: true, message: failure.message, error: failure })) };
    }
  }

  /** What was applied keeps the word for it; of what the event does not bring, those that wait for it fail. */
  #lags({ target, message, error }: Unready): void {
    this.#failed = true;
    const outcome = this.outcomes.get(target);
    if (outcome !== undefined) {
      this.#holdUps.note(outcome.planned, this.#waveOf(target), "is not ready");
      this.#record({ ...outcome, message: `not ready: ${message}`, error });
      return;
    }
    for (const one of this.#plan.objects) {
      if (!this.outcomes.has(one) && this.#plan.dependsOutside(one.parsed).includes(target))
        this.#fail(
          one,
          new TransporterError(error.code, `${one.label} depends on ${target.label}: ${error.message}`, { details: error.details }),
        );
    }
  }

  /** What could not be dry-run before is, as soon as what it leans on stands: all that can be by now, so that a fault shows early. */
  async #tryDeferred(): Promise<void> {
    const due = [...this.#deferred].filter((planned) => this.#canBeTried(planned));
    if (due.length === 0) return;
    for (const planned of due) this.#deferred.delete(planned);
    const { halt: _halt, signal: _signal, ...options } = this.#options;
    const { faults } = await dryRunAll(this.#client, due, { ...options, ...this.#signal(), onProgress: () => undefined }, this.#findings);
    for (const { planned, error } of faults) this.#fail(planned, error);
  }

  #canBeTried({ parsed }: PlannedObject): boolean {
    return this.#plan.leansOn(parsed).every(({ on, why }) => !NEEDED_TO_TRY.has(why) || this.#stands.has(on));
  }

  #signal(): { readonly signal?: AbortSignal } {
    return this.#looking === undefined ? {} : { signal: this.#looking };
  }

  async #awaitServing(): Promise<void> {
    const stands = ({ parsed }: PlannedObject): boolean =>
      this.#plan.leansOn(parsed).every(({ on, why }) => why !== "definition" || this.#stands.has(on));
    const refs = [...this.#deferred]
      .filter((planned) => planned.deferral?.because === "definition" && stands(planned))
      .map(({ ref }) => ref);
    await this.#client.discovery.refresh(this.#looking);
    await awaitServing(this.#client, refs, this.#looking);
  }

  #leaveHeldUp({ objects, wave }: { readonly objects: readonly PlannedObject[]; readonly wave: number }): void {
    if (!this.#failed) return;
    for (const planned of objects) {
      const because = this.outcomes.has(planned) ? undefined : this.#holdUps.reason(planned, wave);
      if (because !== undefined) this.#leave(planned, `because ${because}`);
    }
  }

  #leave(planned: PlannedObject, why: string): void {
    this.#holdUps.note(planned, this.#waveOf(planned), "was not tried");
    this.#record({ ...this.#outcome(planned, "pending", undefined), message: `not tried, ${why}` });
  }

  async #one(planned: PlannedObject): Promise<void> {
    if (this.#halted || this.outcomes.has(planned)) return;
    try {
      const { status, generation } = await writeObject(this.#client, planned, this.#findings.get(planned), this.#options);
      this.#record(this.#outcome(planned, status, generation));
    } catch (error) {
      this.#options.signal?.throwIfAborted();
      // The rest of the batch would end in the same way, each only after its own patience.
      if (isClusterFault(error)) {
        const failure = toTransporterError(error);
        this.#fail(planned, failure, failure.details["maybe_done"] === true);
        throw error;
      }
      this.#fail(planned, toTransporterError(error));
    }
  }

  #waveOf(target: Target): number {
    return this.#waves.get(target) ?? 0;
  }

  #outcome(planned: PlannedObject, status: ResourceOutcome["status"], generation: number | undefined): ResourceOutcome {
    return {
      planned,
      ref: planned.ref,
      apiVersion: planned.apiVersion,
      status,
      message: "",
      error: undefined,
      generation,
      uncertain: false,
    };
  }

  #fail(planned: PlannedObject, error: TransporterError, uncertain = false): void {
    this.#failed = true;
    this.#holdUps.note(planned, this.#waveOf(planned), "failed");
    this.#record({ ...this.#outcome(planned, "failed", undefined), message: error.message, error, uncertain });
  }

  #record(outcome: ResourceOutcome): void {
    this.outcomes.set(outcome.planned, outcome);
    this.#options.onResource?.(outcome);
    if (outcome.status !== "pending") this.#done.add(outcome.planned);
    this.#options.onProgress?.(this.#done.size, this.#plan.objects.length);
  }

  /** Everything in the event's order, with what was never tried as `pending`. */
  finish(): ResourceOutcome[] {
    const cancelled = this.#halted && !this.#failed;
    // In the order of applying, so that what waits for what was not tried says so.
    for (const { objects, wave } of this.#plan.batches) {
      for (const planned of objects) {
        if (this.outcomes.has(planned)) continue;
        const because = cancelled ? "the event was cancelled" : (this.#holdUps.reason(planned, wave) ?? "something before it failed");
        this.#leave(planned, `because ${because}`);
      }
    }
    return this.#plan.objects.flatMap((planned) => this.outcomes.get(planned) ?? []);
  }
}
