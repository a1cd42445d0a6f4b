import { numberOf, recordOf, recordsOf, textOf, type Json } from "../http/json.ts";
import { conditionOf, failed, generationLag, inProgress, READY, type Readiness } from "./readiness-parts.ts";

/** Workloads always get an observedGeneration from their controller, so its absence means that no controller has looked yet. */
function unseen(object: Json): Readiness | undefined {
  return numberOf(recordOf(object["status"])["observedGeneration"]) === undefined
    ? inProgress("Unseen", "no controller has looked at it yet")
    : generationLag(object);
}

function count(record: Json, key: string): number {
  return numberOf(record[key]) ?? 0;
}

function wanted(object: Json): number {
  return numberOf(recordOf(object["spec"])["replicas"]) ?? 1;
}

/** The pods that cannot even be made, in the words of whoever refused them: a quota, an admission webhook. */
function refusedPods(object: Json): string {
  const failure = conditionOf(object, "ReplicaFailure");
  return failure?.status === "True" ? `: ${failure.message || failure.reason}` : "";
}

/** What the API server holds for "no deadline"; without one the controller tells of no progress. */
const NO_DEADLINE = 2_147_483_647;

export function deployment(object: Json): Readiness {
  const lag = unseen(object);
  if (lag !== undefined) return lag;
  const spec = recordOf(object["spec"]);
  // Whoever paused it wants no rollout now, so there is none to wait for.
  if (spec["paused"] === true) return READY;
  const progressing = conditionOf(object, "Progressing");
  if (progressing?.reason === "ProgressDeadlineExceeded")
    return failed("ProgressDeadlineExceeded", progressing.message || "it made no progress within its deadline");
  const status = recordOf(object["status"]);
  const replicas = wanted(object);
  const updated = count(status, "updatedReplicas");
  const total = count(status, "replicas");
  const available = Math.min(count(status, "availableReplicas"), count(status, "readyReplicas"));
  if (Math.min(updated, total) < replicas)
    return inProgress("Updating", `${Math.min(updated, total)} of ${replicas} pods are updated${refusedPods(object)}`);
  if (total > updated) return inProgress("Replacing", `${total - updated} old pods are still there`);
  if (total > replicas) return inProgress("Shrinking", `${total - replicas} pods too many are still there`);
  if (available < replicas) return inProgress("Unavailable", `${available} of ${replicas} pods are available${refusedPods(object)}`);
  const deadline = numberOf(spec["progressDeadlineSeconds"]) ?? NO_DEADLINE;
  if (deadline !== NO_DEADLINE && !(progressing?.status === "True" && progressing.reason === "NewReplicaSetAvailable"))
    return inProgress("Progressing", progressing?.message || "its rollout is not over yet");
  const isAvailable = conditionOf(object, "Available");
  return isAvailable?.status === "True" ? READY : inProgress("Unavailable", isAvailable?.message || "it is not available yet");
}

export function replicaSet(object: Json): Readiness {
  const lag = unseen(object);
  if (lag !== undefined) return lag;
  const status = recordOf(object["status"]);
  const replicas = wanted(object);
  const available = Math.min(count(status, "availableReplicas"), count(status, "readyReplicas"));
  const labelled = count(status, "fullyLabeledReplicas");
  const total = count(status, "replicas");
  const refused = refusedPods(object);
  if (available < replicas) return inProgress("Unavailable", `${available} of ${replicas} pods are available${refused}`);
  if (refused !== "") return inProgress("ReplicaFailure", `its pods cannot be made or removed${refused}`);
  if (labelled < replicas) return inProgress("Unlabelled", `${labelled} of ${replicas} pods have the labels of its template`);
  return total > replicas ? inProgress("Shrinking", `${total - replicas} pods too many are still there`) : READY;
}

/** Of a StatefulSet whose pods are all there and ready: whether they are of the revision that they are to be of. */
function statefulRevision(object: Json, replicas: number): Readiness {
  const strategy = recordOf(recordOf(object["spec"])["updateStrategy"]);
  // With OnDelete nobody replaces a pod before somebody deletes it.
  if (strategy["type"] === "OnDelete") return READY;
  const status = recordOf(object["status"]);
  const partition = numberOf(recordOf(strategy["rollingUpdate"])["partition"]);
  const done = count(status, partition === undefined ? "currentReplicas" : "updatedReplicas");
  const toUpdate = Math.max(0, replicas - (partition ?? 0));
  if (done < toUpdate) return inProgress("Updating", `${done} of ${toUpdate} pods are updated`);
  // Pods below the partition stay as they are, and so do the two revisions.
  if ((partition ?? 0) > 0 || textOf(status["currentRevision"]) === textOf(status["updateRevision"])) return READY;
  return inProgress("Updating", "its pods are not all of the new revision");
}

export function statefulSet(object: Json): Readiness {
  const lag = unseen(object);
  if (lag !== undefined) return lag;
  const status = recordOf(object["status"]);
  const replicas = wanted(object);
  const total = count(status, "replicas");
  const ready = Math.min(count(status, "readyReplicas"), total);
  if (ready < replicas) return inProgress("NotReady", `${ready} of ${replicas} pods are ready`);
  if (total > replicas) return inProgress("Shrinking", `${total - replicas} pods too many are still there`);
  return statefulRevision(object, replicas);
}

export function daemonSet(object: Json): Readiness {
  const lag = unseen(object);
  if (lag !== undefined) return lag;
  const status = recordOf(object["status"]);
  const desired = numberOf(status["desiredNumberScheduled"]);
  if (desired === undefined || numberOf(recordOf(object["metadata"])["generation"]) === undefined)
    return inProgress("Unseen", "its controller has not counted the nodes yet");
  const scheduled = count(status, "currentNumberScheduled");
  const updated = count(status, "updatedNumberScheduled");
  const available = Math.min(count(status, "numberAvailable"), count(status, "numberReady"));
  const onDelete = recordOf(recordOf(object["spec"])["updateStrategy"])["type"] === "OnDelete";
  if (scheduled < desired) return inProgress("Scheduling", `${scheduled} of ${desired} pods are scheduled`);
  if (!onDelete && updated < desired) return inProgress("Updating", `${updated} of ${desired} pods are updated`);
  if (available < desired) return inProgress("Unavailable", `${available} of ${desired} pods are available`);
  return READY;
}

export function job(object: Json): Readiness {
  if (conditionOf(object, "Complete")?.status === "True") return READY;
  const failure = conditionOf(object, "Failed");
  if (failure?.status === "True") return failed(failure.reason || "Failed", failure.message || "it failed");
  const ending = conditionOf(object, "FailureTarget");
  if (ending?.status === "True") return failed(ending.reason || "Failed", ending.message || "it is failing");
  // A suspended Job waits for whoever suspended it, not for the cluster.
  if (recordOf(object["spec"])["suspend"] === true) return READY;
  const status = recordOf(object["status"]);
  if (textOf(status["startTime"]) === undefined) return inProgress("NotStarted", "it has not started yet");
  const completions = numberOf(recordOf(object["spec"])["completions"]);
  const succeeded = count(status, "succeeded");
  const failures = count(status, "failed");
  return inProgress(
    "Running",
    `${succeeded}${completions === undefined ? "" : ` of ${completions}`} pods succeeded, ${count(status, "active")} run${failures > 0 ? `, ${failures} failed` : ""}`,
  );
}

/** Reasons that a container does not leave by itself within any time worth waiting; the kubelet goes on trying all the same. */
const STUCK = new Set([
  "CrashLoopBackOff",
  "ImagePullBackOff",
  "ErrImagePull",
  "InvalidImageName",
  "CreateContainerConfigError",
  "CreateContainerError",
  "RunContainerError",
  "ErrImageNeverPull",
]);

export interface StuckContainer {
  readonly container: string;
  readonly image: string;
  readonly reason: string;
  readonly message: string;
}

/** The containers of a pod that wait for something other than their turn. */
export function stuckContainers(object: Json): StuckContainer[] {
  const status = recordOf(object["status"]);
  const spec = recordOf(object["spec"]);
  const images = new Map(
    [...recordsOf(spec["initContainers"]), ...recordsOf(spec["containers"])].map((one) => [
      textOf(one["name"]) ?? "",
      textOf(one["image"]) ?? "",
    ]),
  );
  return [...recordsOf(status["initContainerStatuses"]), ...recordsOf(status["containerStatuses"])].flatMap((one): StuckContainer[] => {
    const waiting = recordOf(recordOf(one["state"])["waiting"]);
    const reason = textOf(waiting["reason"]) ?? "";
    if (!STUCK.has(reason)) return [];
    const container = textOf(one["name"]) ?? "";
    const last = recordOf(recordOf(one["lastState"])["terminated"]);
    const ended = numberOf(last["exitCode"]);
    const lastWords =
      ended === undefined
        ? ""
        : ` (last ended with code ${ended}${textOf(last["reason"]) === undefined ? "" : `, ${String(last["reason"])}`})`;
    return [
      {
        container,
        image: images.get(container) || textOf(one["image"]) || "",
        reason,
        message: `${textOf(waiting["message"]) ?? ""}${lastWords}`,
      },
    ];
  });
}

export function pod(object: Json): Readiness {
  const status = recordOf(object["status"]);
  const phase = textOf(status["phase"]) ?? "Pending";
  if (phase === "Succeeded") return READY;
  if (phase === "Failed") return failed(textOf(status["reason"]) ?? "Failed", textOf(status["message"]) ?? "it failed");
  if (phase === "Running" && conditionOf(object, "Ready")?.status === "True") return READY;
  const [stuck] = stuckContainers(object);
  // As kstatus: a crash loop of a bare pod is a failure, a pull may yet succeed.
  if (stuck?.reason === "CrashLoopBackOff") return failed(stuck.reason, `container ${stuck.container}: ${stuck.message}`);
  if (stuck !== undefined) return inProgress(stuck.reason, `container ${stuck.container}: ${stuck.message}`);
  const scheduled = conditionOf(object, "PodScheduled");
  if (scheduled?.status === "False") return inProgress(scheduled.reason || "Unschedulable", scheduled.message || "it cannot be scheduled");
  return inProgress(phase, `phase is ${phase}`);
}
