import { TransporterError } from "../../kit/mod.ts";
import { METADATA_ONLY, metadataOf, type AppliedMetadata, type ApplyOptions } from "./apply-request.ts";
import type { KubeClient } from "../http/client.ts";
import { migrateManagers, migrationPatch } from "./managers.ts";
import type { PlannedObject } from "./plan.ts";
import { pathOf } from "./target.ts";
import { errorOfAnswer } from "../http/status-error.ts";

/** Others may write to the object between our reading and our patch; each time it is read again. */
const MAX_TRIES = 5;

/** The object's metadata as it stands; undefined when it does not exist. */
export async function readMetadata(
  client: KubeClient,
  planned: PlannedObject,
  signal: AbortSignal | undefined,
): Promise<AppliedMetadata | undefined> {
  const answer = await client.send({ method: "GET", path: pathOf(planned), accept: METADATA_ONLY, signal });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw errorOfAnswer(answer, planned.label);
  return metadataOf(answer);
}

/**
 * Makes ours what a 0.1 agent or kubectl's client-side apply wrote, so that the apply that follows neither conflicts with them nor
 * leaves removed keys behind. Changes the bookkeeping only, never a field. Resolves to the object's resourceVersion afterwards, or
 * undefined when there was nothing to do.
 */
export async function migrateObject(client: KubeClient, planned: PlannedObject, options: ApplyOptions): Promise<string | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    const metadata = await readMetadata(client, planned, options.signal);
    const entries = metadata === undefined ? undefined : migrateManagers(metadata.managedFields, options.fieldManager);
    if (metadata?.resourceVersion === undefined || entries === undefined) return undefined;
    const answer = await client.send({
      method: "PATCH",
      path: `${pathOf(planned)}?fieldManager=${encodeURIComponent(options.fieldManager)}`,
      contentType: "application/json-patch+json",
      accept: METADATA_ONLY,
      body: migrationPatch(entries, metadata.resourceVersion),
      // Guarded by the resourceVersion: a second arrival is refused, and then read again.
      repeatable: true,
      signal: options.signal,
    });
    if (answer.status < 300) return metadataOf(answer).resourceVersion;
    if (answer.status !== 409) throw errorOfAnswer(answer, planned.label);
    if (attempt >= MAX_TRIES)
      throw new TransporterError(
        "APPLY_FAILED",
        `${planned.label}: its field managers could not be migrated, because somebody else keeps changing it`,
        { details: { object: planned.label, http_status: 409 }, remedy: "Send again when the object is quieter." },
      );
  }
}
