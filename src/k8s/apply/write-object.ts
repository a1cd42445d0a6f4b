import type { KubeClient } from "../http/client.ts";
import { applyRefusal, metadataOf, provesNoChange, sendApply, type ApplyOptions } from "./apply-request.ts";
import { migrateObject } from "./migrate.ts";
import type { PlannedObject } from "./plan.ts";
import type { Finding } from "./try-object.ts";

/** What a write of one object came to. */
export interface Written {
  readonly status: "created" | "updated" | "unchanged" | "recreated";
  /** Of the object after it. */
  readonly generation: number | undefined;
}

/** A proof that nothing would change is not acted on when it is older. */
const PROOF_MS = 30_000;

/**
 * Applies one object in earnest, after its dry run. `finding` is undefined where there was none. Throws the refusal, or what the client
 * throws (`details.maybe_done` where nobody knows whether it took effect).
 */
export async function writeObject(
  client: KubeClient,
  planned: PlannedObject,
  finding: Finding | undefined,
  options: ApplyOptions,
): Promise<Written> {
  const proven = finding?.would === "unchanged" && client.ports.clock.monotonic() - finding.atMs < PROOF_MS;
  // The dry run was an apply in everything but its writing, and it would have written nothing.
  if (proven) return { status: "unchanged", generation: finding.generation };
  const migrated = (finding?.legacy.size ?? 0) > 0 ? await migrateObject(client, planned, options) : undefined;
  const strict = finding === undefined || finding.would === "unknown";
  const answer = await sendApply(client, planned, options, { dryRun: false, force: options.forceConflicts, strict });
  if (answer.status >= 300) throw applyRefusal(answer, planned);
  const { resourceVersion, generation, managedFields } = metadataOf(answer);
  // An apply that arrived, and whose answer was lost, has made what the one sent again then finds.
  const made = answer.sentBefore === true && finding?.would === "create";
  if (answer.status === 201 || made) return { status: "created", generation };
  const before = migrated ?? finding?.resourceVersion;
  const untouched = answer.sentBefore !== true && provesNoChange(answer, managedFields, options.fieldManager);
  const unchanged = resourceVersion === before || untouched;
  return { status: unchanged ? "unchanged" : "updated", generation };
}
