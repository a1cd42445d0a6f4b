import { failpoint, toTransporterError, TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { numberOf, recordOf, textOf, type Json } from "../http/json.ts";
import { refusesDryRun } from "../http/status-error.ts";
import type { KubeAnswer } from "../http/transport.ts";
import { awaitGone } from "../ready/await-gone.ts";
import { explainAllStaying, listStaying } from "../ready/explain-staying.ts";
import { applyRefusal, isTaken, metadataOf, sendApply, sendCreate, type ApplyOptions } from "./apply-request.ts";
import { deleteObject, type DeleteOptions, tryDelete } from "../change/delete-request.ts";
import { type Finding, newFinding, type Written } from "./finding.ts";
import { ON_IMMUTABLE_ANNOTATION, onImmutableOf } from "../../manifests/mod.ts";
import type { Ignored } from "../ownership/ignore-fields.ts";
import { lossWith } from "../ownership/treatment.ts";
import { demandPinned } from "../diff/pin.ts";
import type { PlannedObject } from "./plan.ts";
import { putBack, readObject } from "./put-back.ts";

/** How long the old object may take to go. From its deletion on no deadline is heeded: worse than late is to leave nothing in its place. */
const GONE_MS = 60_000;

/** What a trial beside the old one is refused for, and what ends with it: addresses and ports that it has, its share of a quota. */
function isFromTheOldOne(answer: KubeAnswer, error: TransporterError): boolean {
  return error.code === "QUOTA_EXCEEDED" || (answer.status === 422 && /already allocated/i.test(answer.text.slice(0, 10_000)));
}

/** The new object: the manifest, with what others have made of the fields that are left to them. */
function bodyOf(planned: PlannedObject, ignored: Ignored | undefined, live: Json): string {
  return ignored === undefined ? planned.body : ignored.bodyLike(live);
}

/** What no API server refuses before it is too late. */
function refuseRemaking({ label, parsed }: PlannedObject, live: Json): void {
  const refuse = (why: string, remedy: string): TransporterError =>
    new TransporterError("IMMUTABLE_FIELD", `${label}: a field of it cannot be changed, and it is not deleted and made anew: ${why}`, {
      details: { object: label },
      remedy,
    });
  if (parsed.object.metadata["uid"] !== undefined)
    throw refuse("its manifest names a metadata.uid, which the new one would not have", "Leave metadata.uid out of the manifest.");
  const loss = onImmutableOf(parsed.object) === "recreate" ? undefined : lossWith(live);
  if (loss !== undefined)
    throw refuse(
      `with it would go ${loss}`,
      `Have the policy say Retain first; or have the object itself ask for it by the annotation ${ON_IMMUTABLE_ANNOTATION}: recreate.`,
    );
}

/**
 * Has the API server judge, without doing it, whether an object may be deleted and made anew from its manifest. Throws what it refuses: then
 * nothing must be deleted.
 */
export async function tryRecreate(
  client: KubeClient,
  planned: PlannedObject,
  ignored: Ignored | undefined,
  options: ApplyOptions,
): Promise<Finding> {
  const atMs = client.ports.clock.monotonic();
  const live = await readObject(client, planned, options.signal);
  if (live === undefined) return newFinding(atMs);
  refuseRemaking(planned, live);
  const body = bodyOf(planned, ignored, live);
  // Whoever finds the name taken has found nothing wrong with the object.
  const answer = await sendCreate(client, planned, options, { dryRun: true, body });
  if (answer.status >= 300 && !isTaken(answer) && !refusesDryRun(answer)) {
    const error = applyRefusal(answer, planned);
    if (!isFromTheOldOne(answer, error)) throw notRemakeable(planned, error);
  }
  try {
    await tryDelete(client, planned, deletion(options));
  } catch (error) {
    throw notRemakeable(planned, toTransporterError(error));
  }
  const metadata = recordOf(live["metadata"]);
  return {
    would: "recreate",
    resourceVersion: textOf(metadata["resourceVersion"]),
    generation: numberOf(metadata["generation"]),
    legacy: new Set(),
    atMs,
  };
}

function deletion({ signal }: ApplyOptions): DeleteOptions {
  return { propagation: "background", signal };
}

function notRemakeable(planned: PlannedObject, error: TransporterError): TransporterError {
  return new TransporterError(error.code, `${error.message} (it would be deleted and made anew, as a field of it cannot be changed)`, {
    details: { ...error.details, object: planned.label },
    remedy: error.remedy,
    cause: error,
  });
}

async function demandGone(client: KubeClient, planned: PlannedObject, uid: string | undefined, timeoutMs = GONE_MS): Promise<void> {
  const ending = await awaitGone(client, [{ target: planned, uid }], { timeoutMs });
  if (ending.status === "gone") return;
  const why = listStaying(await explainAllStaying(client, ending.staying, undefined));
  throw new TransporterError(
    "VERIFY_TIMEOUT",
    `${planned.label} was deleted to be made anew, and is not gone after ${Math.round(timeoutMs / 1000)} s: ${why}`,
    { details: { object: planned.label }, remedy: "Send again when it is gone: a deletion cannot be taken back." },
  );
}

/** The old object stands again, or the error says that it does not. */
async function putOldBack(
  client: KubeClient,
  planned: PlannedObject,
  live: Json,
  failure: TransporterError,
  fieldManager: string,
): Promise<TransporterError> {
  const told = (text: string, restored: boolean): TransporterError =>
    new TransporterError(failure.code, `${failure.message}; ${text}`, {
      details: { ...failure.details, object: planned.label, put_back: restored },
      remedy: failure.remedy,
      cause: failure,
    });
  try {
    await putBack(client, planned, live, fieldManager, undefined);
    return told("it had been deleted to be made anew, and the old one was put back", true);
  } catch (error) {
    const why = toTransporterError(error).message;
    return told(`it had been deleted to be made anew, and the old one could not be put back: ${why}`, false);
  }
}

/**
 * Deletes an object, waits until it is gone, and makes it anew from its manifest; fields that are left to others keep their values. When the
 * new one is refused the old one is put back, and the error says so. Throws the refusal of the deletion before anything has changed.
 */
export async function recreateObject(
  client: KubeClient,
  planned: PlannedObject,
  ignored: Ignored | undefined,
  options: ApplyOptions,
): Promise<Written> {
  const { signal, pin, ...steadfast } = options;
  const live = await readObject(client, planned, signal);
  demandPinned(planned.label, live === undefined ? undefined : recordOf(live["metadata"]), pin);
  const body = live === undefined ? planned.body : bodyOf(planned, ignored, live);
  if (live !== undefined) {
    refuseRemaking(planned, live);
    const uid = textOf(recordOf(live["metadata"])["uid"]);
    const finding = { would: "delete", uid } as const;
    signal?.throwIfAborted();
    // A deletion that is broken off may have arrived.
    await deleteObject(client, planned, finding, deletion(steadfast));
    await demandGone(client, planned, uid, options.goneTimeoutMs);
    failpoint("recreate.gone");
  }
  let failure: TransporterError;
  try {
    const answer = await sendApply(client, planned, steadfast, { body, dryRun: false, force: options.forceConflicts, strict: true });
    if (answer.status < 300) return { status: live === undefined ? "created" : "recreated", generation: metadataOf(answer).generation };
    failure = applyRefusal(answer, planned);
  } catch (error) {
    failure = toTransporterError(error);
  }
  if (live === undefined) throw failure;
  throw await putOldBack(client, planned, live, failure, options.fieldManager);
}
