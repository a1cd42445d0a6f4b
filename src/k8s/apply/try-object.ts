import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { isRecord, type Json, readExact, recordOf } from "../http/json.ts";
import { refusesDryRun } from "../http/status-error.ts";
import type { KubeAnswer } from "../http/transport.ts";
import {
  type AppliedMetadata,
  applyRefusal,
  carriesServerFields,
  isPlain,
  leavesAsIs,
  metadataIn,
  metadataOf,
  provesNoChange,
  sendApply,
  sendDryCreate,
  type ApplyOptions,
} from "./apply-request.ts";
import { isSameContent } from "../ownership/content.ts";
import { tryCreate } from "./create.ts";
import { isForbidden } from "./faults.ts";
import { type Finding, newFinding } from "./finding.ts";
import { entriesOf, type Ignored, ignoredOf, ownsIgnored } from "../ownership/ignore-fields.ts";
import { legacyManagers } from "../ownership/managers.ts";
import { readMetadata } from "../ownership/migrate.ts";
import type { PlannedObject } from "./plan.ts";
import { provesSame } from "../ownership/prove-same.ts";
import { readObject } from "./put-back.ts";
import { tryRecreate } from "./recreate.ts";
import { explainImmutable, withTimes } from "./refusal.ts";
import { type Treatment, treatmentOf } from "../ownership/treatment.ts";

/** A controller may write between the look at what is there and the trial; both are of use only when they are of the same state. */
const MAX_TRIALS = 3;

/** The object as it stands before a trial; `hidden` where the account may apply it and not read it. */
type Before = Json | "absent" | "hidden";

function metadataBefore(before: Json): AppliedMetadata {
  return metadataIn(recordOf(before["metadata"]));
}

function isConflict(error: unknown): error is TransporterError {
  return error instanceof TransporterError && error.code === "FIELD_CONFLICT";
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

  async run(isNew: boolean): Promise<Finding> {
    for (let nth = 1; ; nth += 1) {
      const atMs = this.#client.ports.clock.monotonic();
      const before = isNew && nth === 1 ? "absent" : await this.#look();
      const gives = this.#gives(before);
      if (!gives && this.#isSame(before)) return { ...this.#found(before, atMs), would: "unchanged" };
      try {
        const finding = await this.#try(before, { ...this.#found(before, atMs), gives }, nth >= MAX_TRIALS);
        if (finding !== undefined) return finding;
      } catch (error) {
        // Whoever else writes the ignored fields may have done so since they were read.
        if (gives && nth < MAX_TRIALS && isConflict(error)) continue;
        return await this.#recreation(error);
      }
    }
  }

  async #look(): Promise<Before> {
    try {
      return (await readObject(this.#client, this.#planned, this.#options.signal)) ?? "absent";
    } catch (error) {
      if (!isForbidden(error)) throw error;
      return "hidden";
    }
  }

  /** Whether fields that are ignored are booked as ours, and have to be given up first. */
  #gives(before: Before): boolean {
    return isRecord(before) && this.#ignored !== undefined && ownsIgnored(entriesOf(before), this.#options.fieldManager, this.#ignored);
  }

  #isSame(before: Before): before is Json {
    const { object } = this.#planned.parsed;
    const wanted = this.#ignored === undefined ? object : this.#ignored.withoutThem(object);
    return isRecord(before) && provesSame(wanted, before, this.#options.fieldManager);
  }

  /** What is known without a trial. */
  #found(before: Before, atMs: number): Finding {
    if (!isRecord(before)) return { ...newFinding(atMs), would: before === "absent" ? "create" : "update" };
    const { resourceVersion, generation, managedFields } = metadataBefore(before);
    return { would: "update", resourceVersion, generation, legacy: legacyManagers(managedFields, this.#options.fieldManager), atMs };
  }

  #bodyFor(before: Before, gives: boolean): string {
    if (this.#ignored === undefined || before === "absent") return this.#planned.body;
    return gives && isRecord(before) ? this.#ignored.bodyLike(before) : this.#ignored.body;
  }

  async #send(before: Before, found: Finding, force: boolean): Promise<KubeAnswer> {
    const body = this.#bodyFor(before, found.gives === true);
    return sendApply(this.#client, this.#planned, this.#options, { body, whole: isRecord(before), dryRun: true, force, strict: true });
  }

  /** Undefined when the object changed meanwhile and the trial should be made again. */
  async #try(before: Before, found: Finding, last: boolean): Promise<Finding | undefined> {
    const answer = await this.#send(before, found, this.#treatment.forceConflicts);
    if (answer.status === 201) return newFinding(found.atMs);
    if (refusesDryRun(answer)) return { ...found, would: "unknown" };
    if (answer.status >= 300) return this.#refused(answer, before, found);
    // It was made since.
    if (before === "absent" && !last) return undefined;
    if (!isRecord(before)) return this.#judgeUnseen(answer, found);
    if (found.legacy.size > 0 || found.gives === true) return found;
    const unchanged = this.#changesNothing(recordOf(readExact(answer.text)), before);
    if (unchanged === undefined && !last) return undefined;
    return { ...found, would: unchanged === true ? "unchanged" : "update" };
  }

  #judgeUnseen(answer: KubeAnswer, found: Finding): Finding {
    const { fieldManager } = this.#options;
    const { resourceVersion, generation, managedFields } = metadataOf(answer);
    const legacy = legacyManagers(managedFields, fieldManager);
    const tookMs = this.#client.ports.clock.monotonic() - found.atMs;
    const unchanged = legacy.size === 0 && provesNoChange(answer, managedFields, fieldManager, tookMs);
    return { ...found, would: unchanged ? "unchanged" : "update", resourceVersion, generation, legacy };
  }

  /** Some objects the API server would write anew with every apply, although nothing differs. Undefined when the object changed meanwhile. */
  #changesNothing(tried: Json, before: Json): boolean | undefined {
    const [then, now] = [metadataBefore(before), metadataBefore(tried)];
    if (then.resourceVersion === now.resourceVersion) return isSameContent(tried, before);
    // Seen before the trial: had that changed the spec, it would have counted on.
    return leavesAsIs(this.#planned.parsed.object, then, now, this.#options.fieldManager) ? true : undefined;
  }

  /** Conflicts with those whose fields are ours by history end with the migration; others are a fault. */
  async #refused(answer: KubeAnswer, before: Before, found: Finding): Promise<Finding> {
    const error = applyRefusal(answer, this.#planned);
    if (!isConflict(error) || !isRecord(before)) throw error;
    const others = applyRefusal(answer, this.#planned, found.legacy);
    const conflicts = found.legacy.size === 0 || isConflict(others);
    // With force, a dry run answers what the apply will after a migration.
    const forced = await this.#send(before, found, true);
    const refusal = forced.status >= 300 ? applyRefusal(forced, this.#planned) : undefined;
    // To make an object anew takes others' fields from them, too.
    if (conflicts && (refusal === undefined || refusal.code === "IMMUTABLE_FIELD"))
      throw withTimes(others, this.#planned, metadataBefore(before));
    if (refusal !== undefined) throw refusal;
    return found;
  }

  async #recreation(error: unknown): Promise<Finding> {
    if (!(error instanceof TransporterError) || error.code !== "IMMUTABLE_FIELD") throw error;
    if (!this.#treatment.recreate) throw await explainImmutable(this.#client, this.#planned, error, this.#options.signal);
    return tryRecreate(this.#client, this.#planned, this.#ignored, this.#options);
  }
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
  return new ObjectTrial(client, planned, options, treatment, ignored).run(isNew);
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
