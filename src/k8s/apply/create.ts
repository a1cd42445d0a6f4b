import { TransporterError } from "../../kit/mod.ts";
import { stringifyObject } from "../../manifests/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { type AppliedMetadata, applyRefusal, isTaken, metadataOf, sendCreate, type ApplyOptions } from "./apply-request.ts";
import { type Finding, newFinding, type Written } from "./finding.ts";
import type { PlannedObject } from "./plan.ts";
import { refusesDryRun } from "../http/status-error.ts";
import { readMetadata } from "../ownership/migrate.ts";

function alreadyThere(planned: PlannedObject, there: AppliedMetadata | undefined): TransporterError {
  const made = there?.createdAt === undefined ? "" : `, since ${there.createdAt}`;
  return new TransporterError("ALREADY_EXISTS", `${planned.label} exists already${made}`, {
    details: { object: planned.label, http_status: 409 },
  });
}

function isBookedAs(there: AppliedMetadata | undefined, fieldManager: string): boolean {
  return there?.managedFields.some(({ manager }) => manager === fieldManager) === true;
}

/** As kubectl does: of which version an object was elsewhere says nothing of one that is to be made. */
function bodyOf({ parsed, ref }: PlannedObject): { readonly body?: string } {
  if (parsed.object.metadata["resourceVersion"] === undefined) return {};
  const { resourceVersion: _version, namespace: _written, ...metadata } = parsed.object.metadata;
  const { namespace } = ref;
  return { body: stringifyObject({ ...parsed.object, metadata: { ...metadata, ...(namespace === undefined ? {} : { namespace }) } }) };
}

/** Has the API server judge whether an object can be created, without doing it. Throws its refusal, ALREADY_EXISTS where it is there. */
export async function tryCreate(client: KubeClient, planned: PlannedObject, options: ApplyOptions): Promise<Finding> {
  const atMs = client.ports.clock.monotonic();
  const answer = await sendCreate(client, planned, options, { ...bodyOf(planned), dryRun: true });
  if (answer.status < 300) return newFinding(atMs);
  if (refusesDryRun(answer)) return { ...newFinding(atMs), would: "unknown" };
  if (!isTaken(answer)) throw applyRefusal(answer, planned);
  const there = await readMetadata(client, planned, options.signal).catch(() => undefined);
  if (there === undefined || options.isOwnCreation?.(planned) !== true || !isBookedAs(there, options.fieldManager))
    throw alreadyThere(planned, there);
  return { would: "unchanged", resourceVersion: there.resourceVersion, generation: there.generation, legacy: new Set(), atMs };
}

/** Creates one object in earnest, as `kubectl create` does: what exists is a fault. */
export async function createObject(
  client: KubeClient,
  planned: PlannedObject,
  finding: Finding | undefined,
  options: ApplyOptions,
): Promise<Written> {
  if (finding?.would === "unchanged") return { status: "unchanged", generation: finding.generation };
  const answer = await sendCreate(client, planned, options, { ...bodyOf(planned), dryRun: false });
  if (isTaken(answer)) {
    const there = await readMetadata(client, planned, options.signal).catch(() => undefined);
    // Sent again because its answer was lost: what is in the way is what the first sending made, if that arrived.
    if (answer.sentBefore === true && there !== undefined && isBookedAs(there, options.fieldManager))
      return { status: "created", generation: there.generation };
    throw alreadyThere(planned, there);
  }
  if (answer.status >= 300) throw applyRefusal(answer, planned);
  return { status: "created", generation: metadataOf(answer).generation };
}
