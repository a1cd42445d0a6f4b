import { TransporterError } from "../../kit/mod.ts";
import { METADATA_ONLY, metadataOf, type AppliedMetadata, type ApplyOptions } from "../apply/apply-request.ts";
import { type Ignored, withoutIgnored } from "./ignore-fields.ts";
import type { KubeClient } from "../http/client.ts";
import type { Json } from "../http/json.ts";
import type { KubeAnswer } from "../http/transport.ts";
import { type ManagedFields, managersPatch, migrateManagers } from "./managers.ts";
import { demandPinned } from "../diff/pin.ts";
import { pathOf, type Target } from "../apply/target.ts";
import { errorOfAnswer } from "../http/status-error.ts";

/** Others may write to the object between our reading and our patch; each time it is read again. */
const MAX_TRIES = 5;

/** The object's metadata as it stands; undefined when it does not exist. */
export async function readMetadata(
  client: KubeClient,
  target: Target,
  signal: AbortSignal | undefined,
): Promise<AppliedMetadata | undefined> {
  const answer = await client.send({ method: "GET", path: pathOf(target), accept: METADATA_ONLY, signal });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw errorOfAnswer(answer, target.label);
  return metadataOf(answer);
}

/** Writes who manages which fields, and nothing else. Answers 409 when the object has changed since that resourceVersion. */
export async function patchManagers(
  client: KubeClient,
  target: Target,
  entries: readonly Json[],
  at: { readonly resourceVersion: string; readonly fieldManager: string; readonly signal: AbortSignal | undefined },
): Promise<KubeAnswer> {
  return client.send({
    method: "PATCH",
    path: `${pathOf(target)}?fieldManager=${encodeURIComponent(at.fieldManager)}`,
    contentType: "application/json-patch+json",
    accept: METADATA_ONLY,
    body: managersPatch(entries, at.resourceVersion),
    // Guarded by the resourceVersion: a second arrival is refused, and then read again.
    repeatable: true,
    signal: at.signal,
  });
}

/** The entries as they should be; undefined when they are. */
function settled(before: ManagedFields, fieldManager: string, ignored: Ignored | undefined): ManagedFields | undefined {
  const migrated = migrateManagers(before, fieldManager);
  if (ignored === undefined) return migrated;
  const entries = migrated ?? before;
  const left = withoutIgnored(entries, fieldManager, ignored);
  return left.length === entries.length && left.every((entry, index) => entry === entries[index]) ? migrated : left;
}

/**
 * Makes ours what a 0.1 agent or kubectl's client-side apply wrote, so that the apply that follows neither conflicts with them nor
 * leaves removed keys behind; and gives up what is left to others, so that the same apply does not remove it. Changes the bookkeeping only,
 * never a field. Resolves to the object's resourceVersion afterwards, or undefined when there was nothing to do.
 */
export async function settleOwnership(
  client: KubeClient,
  target: Target,
  { fieldManager, signal, pin }: ApplyOptions,
  ignored: Ignored | undefined,
): Promise<string | undefined> {
  for (let attempt = 1; ; attempt += 1) {
    const metadata = await readMetadata(client, target, signal);
    demandPinned(target.label, metadata, pin);
    const entries = metadata === undefined ? undefined : settled(metadata.managedFields, fieldManager, ignored);
    if (metadata?.resourceVersion === undefined || entries === undefined) return undefined;
    const { resourceVersion } = metadata;
    const answer = await patchManagers(client, target, entries, { resourceVersion, fieldManager, signal });
    if (answer.status < 300) return metadataOf(answer).resourceVersion;
    if (answer.status !== 409) throw errorOfAnswer(answer, target.label);
    if (attempt >= MAX_TRIES)
      throw new TransporterError(
        "APPLY_FAILED",
        `${target.label}: who manages its fields could not be settled, because somebody else keeps changing it`,
        { details: { object: target.label, http_status: 409 }, remedy: "Send again when the object is quieter." },
      );
  }
}
