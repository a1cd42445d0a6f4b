import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { applyRefusal, isTaken, metadataOf, sendCreate, type ApplyOptions } from "./apply-request.ts";
import { type Finding, newFinding, type Written } from "./finding.ts";
import type { PlannedObject } from "./plan.ts";
import { refusesDryRun } from "../http/status-error.ts";
import { readMetadata } from "./migrate.ts";

function alreadyThere(planned: PlannedObject): TransporterError {
  return new TransporterError("ALREADY_EXISTS", `${planned.label} exists already`, {
    details: { object: planned.label, http_status: 409 },
  });
}

/** Has the API server judge whether an object can be created, without doing it. Throws its refusal, ALREADY_EXISTS where it is there. */
export async function tryCreate(client: KubeClient, planned: PlannedObject, options: ApplyOptions): Promise<Finding> {
  const atMs = client.ports.clock.monotonic();
  const answer = await sendCreate(client, planned, options, { dryRun: true });
  if (answer.status < 300) return newFinding(atMs);
  if (refusesDryRun(answer)) return { ...newFinding(atMs), would: "unknown" };
  if (isTaken(answer)) throw alreadyThere(planned);
  throw applyRefusal(answer, planned);
}

/** Creates one object in earnest, as `kubectl create` does: what exists is a fault. */
export async function createObject(client: KubeClient, planned: PlannedObject, options: ApplyOptions): Promise<Written> {
  const answer = await sendCreate(client, planned, options, { dryRun: false });
  if (isTaken(answer)) {
    // Sent again because its answer was lost: what is in the way is what the first sending made, if that arrived.
    const there = answer.sentBefore === true ? await readMetadata(client, planned, options.signal) : undefined;
    const ours = there?.managedFields.some(({ manager }) => manager === options.fieldManager) === true;
    if (there === undefined || !ours) throw alreadyThere(planned);
    return { status: "created", generation: there.generation };
  }
  if (answer.status >= 300) throw applyRefusal(answer, planned);
  return { status: "created", generation: metadataOf(answer).generation };
}
