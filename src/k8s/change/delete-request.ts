import { TransporterError } from "../../kit/mod.ts";
import type { Propagation } from "../../protocol/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { type Json, parseRecord, recordOf, textOf } from "../http/json.ts";
import { errorOfAnswer, refusesDryRun } from "../http/status-error.ts";
import type { KubeAnswer } from "../http/transport.ts";
import { METADATA_ONLY } from "../apply/apply-request.ts";
import { type Located, unknownKinds } from "./locate.ts";
import { pathOf, type Target } from "../apply/target.ts";
import { isForbidden } from "../apply/faults.ts";

export interface DeleteOptions {
  readonly propagation: Propagation;
  readonly signal?: AbortSignal | undefined;
}

/** What the trial of one deletion found. */
export interface DeleteFinding {
  /**
   * - `delete`, `absent`: what a deletion would do.
   * - `unknown`: is there; an admission webhook refuses every dry run.
   * - `unjudged`: is there; the account may read and nothing else.
   * - `unseen`: may not even be read.
   */
  readonly would: "delete" | "absent" | "unknown" | "unjudged" | "unseen";
  /** Of the object as it stood: no other of the same name is deleted in its place. */
  readonly uid: string | undefined;
}

/** What became of one deletion: `leaving` is accepted and waits for something. */
export interface Deleted {
  readonly state: "gone" | "leaving" | "absent";
  readonly uid: string | undefined;
}

const POLICIES: Readonly<Record<Propagation, string>> = { background: "Background", foreground: "Foreground", orphan: "Orphan" };

async function sendDelete(
  client: KubeClient,
  target: Target,
  uid: string | undefined,
  options: DeleteOptions,
  dryRun: boolean,
): Promise<KubeAnswer> {
  return client.send({
    method: "DELETE",
    path: pathOf(target),
    contentType: "application/json",
    body: JSON.stringify({
      apiVersion: "v1",
      kind: "DeleteOptions",
      propagationPolicy: POLICIES[options.propagation],
      ...(uid === undefined ? {} : { preconditions: { uid } }),
      ...(dryRun ? { dryRun: ["All"] } : {}),
    }),
    // Without a uid a second arrival could meet what somebody made in the meantime.
    repeatable: dryRun || uid !== undefined,
    signal: options.signal,
  });
}

/** The uid that the manifest itself names: it means that object and no later one. */
function writtenUid({ parsed }: Located): string | undefined {
  return textOf(parsed.object.metadata["uid"]);
}

function refusal(answer: KubeAnswer, target: Located): TransporterError {
  const error = errorOfAnswer(answer, target.label);
  if (answer.status !== 409 || writtenUid(target) === undefined) return error;
  return new TransporterError(error.code, error.message, {
    details: { ...error.details, pinned: true },
    remedy: "The manifest names a metadata.uid, and the object is another by now: leave it out to delete whatever has the name.",
  });
}

interface Answered {
  readonly uid: string | undefined;
  /** It waits for finalizers, for what it owns, or for a grace period. */
  readonly leaving: boolean;
}

/** The API server answers with a Status where nothing is left of the object, and with the object where it is, or where its kind does that always. */
function answeredBy(answer: KubeAnswer): Answered {
  const root = parseRecord(answer.text);
  if (root["kind"] === "Status" && root["apiVersion"] === "v1") return { uid: textOf(recordOf(root["details"])["uid"]), leaving: false };
  const metadata = recordOf(root["metadata"]);
  return { uid: textOf(metadata["uid"]), leaving: textOf(metadata["deletionTimestamp"]) !== undefined };
}

/** The object's metadata as it stands; undefined where it is not there. */
export async function readIdentity(client: KubeClient, target: Target, signal: AbortSignal | undefined): Promise<Json | undefined> {
  const answer = await client.send({ method: "GET", path: pathOf(target), accept: METADATA_ONLY, signal });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw errorOfAnswer(answer, target.label);
  return recordOf(parseRecord(answer.text)["metadata"]);
}

/** What was remembered of its kind may be no longer so. */
async function absentBy(client: KubeClient, answer: KubeAnswer, target: Located, signal: AbortSignal | undefined): Promise<DeleteFinding> {
  const { code } = errorOfAnswer(answer, target.label);
  if (code === "UNKNOWN_KIND" && !target.goesToo) {
    await client.discovery.refresh(signal);
    throw unknownKinds(client, [target.ref]);
  }
  return { would: "absent", uid: undefined };
}

/** Has the API server judge one deletion without doing it. Throws its refusal. */
export async function tryDelete(client: KubeClient, target: Located, options: DeleteOptions): Promise<DeleteFinding> {
  const answer = await sendDelete(client, target, writtenUid(target), options, true);
  if (answer.status === 404) return absentBy(client, answer, target, options.signal);
  if (answer.status < 300) return { would: "delete", uid: answeredBy(answer).uid };
  if (!refusesDryRun(answer)) throw refusal(answer, target);
  const found = await readIdentity(client, target, options.signal);
  return found === undefined ? { would: "absent", uid: undefined } : { would: "unknown", uid: textOf(found["uid"]) };
}

/** What can be known of a deletion without trying it. */
export async function lookAtDoomed(client: KubeClient, target: Located, options: DeleteOptions): Promise<DeleteFinding> {
  try {
    const found = await readIdentity(client, target, options.signal);
    return found === undefined ? { would: "absent", uid: undefined } : { would: "unjudged", uid: textOf(found["uid"]) };
  } catch (error) {
    if (!isForbidden(error)) throw error;
    return { would: "unseen", uid: undefined };
  }
}

/**
 * Deletes one object in earnest, and only the one that was seen. Throws the refusal, or what the client throws (`details.maybe_done` where
 * nobody knows whether it took effect).
 */
export async function deleteObject(client: KubeClient, target: Located, finding: DeleteFinding, options: DeleteOptions): Promise<Deleted> {
  if (finding.would === "absent") return { state: "absent", uid: undefined };
  const uid = finding.uid ?? writtenUid(target);
  const answer = await sendDelete(client, target, uid, options, false);
  // Where the answer to an earlier sending was lost, that one has done it.
  if (answer.status === 404) return { state: answer.sentBefore === true ? "gone" : "absent", uid };
  if (answer.status === 409 && answer.sentBefore === true) return { state: "leaving", uid };
  if (answer.status >= 300) throw refusal(answer, target);
  const answered = answeredBy(answer);
  return { state: answered.leaving ? "leaving" : "gone", uid: answered.uid ?? uid };
}
