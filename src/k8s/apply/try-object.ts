import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import type { Json } from "../http/json.ts";
import { refusesDryRun } from "../http/status-error.ts";
import type { KubeAnswer } from "../http/transport.ts";
import {
  applyRefusal,
  carriesServerFields,
  isPlain,
  leavesAsIs,
  metadataOf,
  provesNoChange,
  sendApply,
  sendDryCreate,
  type ApplyOptions,
} from "./apply-request.ts";
import { tryCreate } from "./create.ts";
import { isForbidden } from "./faults.ts";
import { type Finding, newFinding } from "./finding.ts";
import { entriesOf, type Ignored, ignoredOf, ownsIgnored } from "./ignore-fields.ts";
import { legacyManagers } from "./managers.ts";
import { readMetadata } from "./migrate.ts";
import type { PlannedObject } from "./plan.ts";
import { readObject } from "./put-back.ts";
import { tryRecreate } from "./recreate.ts";
import { explainImmutable, withTimes } from "./refusal.ts";
import { type Treatment, treatmentOf } from "./treatment.ts";

export type { Finding } from "./finding.ts";

/** A controller may write between a trial and the look at what was there; both are of use only when they are of the same state. */
const MAX_TRIALS = 3;

/** What is tried: the whole manifest, or, of an object that exists, what is left of it without the fields that are ignored. */
interface Trial {
  readonly body: string;
  /** Some of those fields are booked as ours: they have the values that they have, until an apply has given them up. */
  readonly gives: boolean;
}

async function trialOf(
  client: KubeClient,
  planned: PlannedObject,
  ignored: Ignored | undefined,
  { fieldManager, signal }: ApplyOptions,
): Promise<Trial> {
  const live: Json | undefined = ignored === undefined ? undefined : await readObject(client, planned, signal);
  if (ignored === undefined || live === undefined) return { body: planned.body, gives: false };
  const gives = ownsIgnored(entriesOf(live), fieldManager, ignored);
  return { body: gives ? ignored.bodyLike(live) : ignored.body, gives };
}

/** One object under trial. */
class ObjectTrial {
  readonly #client: KubeClient;
  readonly #planned: PlannedObject;
  readonly #options: ApplyOptions;
  readonly #treatment: Treatment;
  readonly #ignored: Ignored | undefined;

  constructor(client: KubeClient, planned: PlannedObject, options: ApplyOptions, treatment: Treatment, ignored: Ignored | undefined) {
    this.#client = client;
    this.#planned = planned;
    this.#options = options;
    this.#treatment = treatment;
    this.#ignored = ignored;
  }

  async run(): Promise<Finding> {
    for (let nth = 1; ; nth += 1) {
      const trial = await trialOf(this.#client, this.#planned, this.#ignored, this.#options);
      try {
        const finding = await this.#once(trial, nth >= MAX_TRIALS);
        if (finding !== undefined) return finding;
      } catch (error) {
        // Whoever else writes the ignored fields may have done so since they were read.
        if (trial.gives && nth < MAX_TRIALS && isConflict(error)) continue;
        return await this.#recreation(error);
      }
    }
  }

  /** Undefined when the object changed meanwhile and the trial should be made again. */
  async #once(trial: Trial, last: boolean): Promise<Finding | undefined> {
    const atMs = this.#client.ports.clock.monotonic();
    const answer = await this.#send(trial, this.#treatment.forceConflicts);
    if (answer.status < 300) {
      const finding = await this.#findingOf(answer, trial, atMs);
      if (finding !== undefined || !last) return finding;
      const { resourceVersion, generation } = metadataOf(answer);
      return { would: "update", resourceVersion, generation, legacy: new Set(), gives: trial.gives, atMs };
    }
    if (refusesDryRun(answer)) return { ...newFinding(atMs), would: "unknown" };
    const error = applyRefusal(answer, this.#planned);
    if (!isConflict(error)) throw error;
    return this.#settleConflict(answer, trial, atMs);
  }

  async #send(trial: Trial, force: boolean): Promise<KubeAnswer> {
    return sendApply(this.#client, this.#planned, this.#options, { body: trial.body, dryRun: true, force, strict: true });
  }

  async #findingOf(answer: KubeAnswer, { gives }: Trial, atMs: number): Promise<Finding | undefined> {
    if (answer.status === 201) return newFinding(atMs);
    const { fieldManager, signal } = this.#options;
    const tried = metadataOf(answer);
    const { resourceVersion, generation, managedFields } = tried;
    const legacy = legacyManagers(managedFields, fieldManager);
    const settled = legacy.size === 0 && !gives;
    let unchanged = settled && provesNoChange(answer, managedFields, fieldManager);
    // Changed by this trial or by an apply of a moment ago: for what controllers write to, the resourceVersion could not tell later.
    if (!unchanged && settled && generation !== undefined) {
      const before = await readMetadata(this.#client, this.#planned, signal);
      if (before?.resourceVersion !== resourceVersion) return undefined;
      unchanged = before !== undefined && leavesAsIs(this.#planned.parsed.object, before, tried, fieldManager);
    }
    return { would: unchanged ? "unchanged" : "update", resourceVersion, generation, legacy, gives, atMs };
  }

  /** Conflicts with those whose fields are ours by history end with the migration; others are a fault. */
  async #settleConflict(answer: KubeAnswer, trial: Trial, atMs: number): Promise<Finding> {
    const { fieldManager, signal } = this.#options;
    // With force, a dry run answers what the apply will after a migration.
    const forced = await this.#send(trial, true);
    if (forced.status >= 300) throw applyRefusal(forced, this.#planned);
    // Whose fields they are stands in the cluster only: the forced dry run has already taken them away.
    const metadata = await readMetadata(this.#client, this.#planned, signal);
    const legacy = metadata === undefined ? new Set<string>() : legacyManagers(metadata.managedFields, fieldManager);
    const others = applyRefusal(answer, this.#planned, legacy);
    if (legacy.size === 0 || isConflict(others)) throw withTimes(others, this.#planned, metadata);
    return {
      would: "update",
      resourceVersion: metadataOf(forced).resourceVersion,
      generation: undefined,
      legacy,
      gives: trial.gives,
      atMs,
    };
  }

  async #recreation(error: unknown): Promise<Finding> {
    if (!(error instanceof TransporterError) || error.code !== "IMMUTABLE_FIELD") throw error;
    if (!this.#treatment.recreate) throw await explainImmutable(this.#client, this.#planned, error, this.#options.signal);
    return tryRecreate(this.#client, this.#planned, this.#ignored, this.#options);
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof TransporterError && error.code === "FIELD_CONFLICT";
}

/** Dry-runs one object in the cheapest way that gives the same refusals. Throws the object's or the cluster's fault. */
export async function tryObject(client: KubeClient, planned: PlannedObject, isNew: boolean, options: ApplyOptions): Promise<Finding> {
  if (options.createOnly === true) return tryCreate(client, planned, options);
  const treatment = treatmentOf(planned, options);
  const ignored = await ignoredOf(client, planned, treatment, options.signal);
  if (isNew && isPlain(planned.parsed.object) && !carriesServerFields(planned.parsed.object.metadata)) {
    const atMs = client.ports.clock.monotonic();
    const answer = await sendDryCreate(client, planned, options);
    if (answer.status < 300) return newFinding(atMs);
    // Anything else (it exists by now, a refusal) is said by an apply, in an apply's words.
  }
  return new ObjectTrial(client, planned, options, treatment, ignored).run();
}

/** What can be known of an object without trying anything. */
export async function lookAt(client: KubeClient, planned: PlannedObject, options: ApplyOptions): Promise<Finding> {
  const found = { legacy: new Set<string>(), atMs: client.ports.clock.monotonic() };
  try {
    const there = await readMetadata(client, planned, options.signal);
    return { ...found, would: "unjudged", resourceVersion: there?.resourceVersion, generation: there?.generation };
  } catch (error) {
    if (!isForbidden(error)) throw error;
    return { ...found, would: "unseen", resourceVersion: undefined, generation: undefined };
  }
}
