import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { conflictingManagers, refusesDryRun } from "../http/status-error.ts";
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
import { legacyManagers } from "./managers.ts";
import { readMetadata } from "./migrate.ts";
import type { PlannedObject } from "./plan.ts";

/** What the dry run of one object said. */
export interface Finding {
  /**
   * - `create`, `update`: what an apply would do; `update` also where nothing would change and that could not be proven.
   * - `recreate`: a field of it cannot be changed, and it may be deleted and made anew.
   * - `unchanged`: proven that an apply would change nothing.
   * - `unknown`: could not be dry-run, because an admission webhook refuses every dry run.
   * - `unjudged`: was only looked for, because the account may read and nothing else, and a dry run needs the right to do it.
   * - `unseen`: not even that, because it may not be read either.
   */
  readonly would: "create" | "update" | "recreate" | "unchanged" | "unknown" | "unjudged" | "unseen";
  /** Of the object as it stood; undefined for a new one. */
  readonly resourceVersion: string | undefined;
  readonly generation: number | undefined;
  /** Field managers whose fields are ours by history and have to be migrated before the apply. */
  readonly legacy: ReadonlySet<string>;
  /** Milliseconds of the monotonic clock. */
  readonly atMs: number;
}

function created(atMs: number): Finding {
  return { would: "create", resourceVersion: undefined, generation: undefined, legacy: new Set(), atMs };
}

/** A controller may write between a trial and the look at what was there; both are of use only when they are of the same state. */
const MAX_TRIALS = 3;

/** What an accepted trial found; undefined when the object changed meanwhile and the trial should be made again. */
async function findingOf(
  client: KubeClient,
  planned: PlannedObject,
  answer: KubeAnswer,
  options: ApplyOptions,
  atMs: number,
): Promise<Finding | undefined> {
  if (answer.status === 201) return created(atMs);
  const tried = metadataOf(answer);
  const { resourceVersion, generation, managedFields } = tried;
  const legacy = legacyManagers(managedFields, options.fieldManager);
  let unchanged = legacy.size === 0 && provesNoChange(answer, managedFields, options.fieldManager);
  // Changed by this trial or by an apply of a moment ago: for what controllers write to, the resourceVersion could not tell later.
  if (!unchanged && legacy.size === 0 && generation !== undefined) {
    const before = await readMetadata(client, planned, options.signal);
    if (before?.resourceVersion !== resourceVersion) return undefined;
    unchanged = before !== undefined && leavesAsIs(planned.parsed.object, before, tried, options.fieldManager);
  }
  return { would: unchanged ? "unchanged" : "update", resourceVersion, generation, legacy, atMs };
}

async function dryApply(client: KubeClient, planned: PlannedObject, options: ApplyOptions, trial = 1): Promise<Finding> {
  const atMs = client.ports.clock.monotonic();
  const answer = await sendApply(client, planned, options, { dryRun: true, force: options.forceConflicts, strict: true });
  if (answer.status < 300) {
    const finding = await findingOf(client, planned, answer, options, atMs);
    if (finding !== undefined) return finding;
    if (trial < MAX_TRIALS) return dryApply(client, planned, options, trial + 1);
    const { resourceVersion, generation } = metadataOf(answer);
    return { would: "update", resourceVersion, generation, legacy: new Set(), atMs };
  }
  if (refusesDryRun(answer)) return { would: "unknown", resourceVersion: undefined, generation: undefined, legacy: new Set(), atMs };
  const error = applyRefusal(answer, planned);
  const managers = conflictingManagers(error);
  if (managers === undefined) throw error;
  // With force, a dry run answers what the apply will after a migration.
  const forced = await sendApply(client, planned, options, { dryRun: true, force: true, strict: true });
  if (forced.status >= 300) throw applyRefusal(forced, planned);
  // Whose fields they are stands in the cluster only: the forced dry run has already taken them away.
  const metadata = await readMetadata(client, planned, options.signal);
  const legacy = metadata === undefined ? new Set<string>() : legacyManagers(metadata.managedFields, options.fieldManager);
  if (!managers.every((manager) => legacy.has(manager))) throw applyRefusal(answer, planned, legacy);
  return { would: "update", resourceVersion: metadataOf(forced).resourceVersion, generation: undefined, legacy, atMs };
}

/** Dry-runs one object in the cheapest way that gives the same refusals. Throws the object's or the cluster's fault. */
export async function tryObject(client: KubeClient, planned: PlannedObject, isNew: boolean, options: ApplyOptions): Promise<Finding> {
  if (isNew && isPlain(planned.parsed.object) && !carriesServerFields(planned.parsed.object.metadata)) {
    const atMs = client.ports.clock.monotonic();
    const answer = await sendDryCreate(client, planned, options);
    if (answer.status < 300) return created(atMs);
    // Anything else (it exists by now, a refusal) is said by an apply, in an apply's words.
  }
  return dryApply(client, planned, options);
}

export function isForbidden(error: unknown): boolean {
  return error instanceof TransporterError && error.code === "FORBIDDEN";
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
