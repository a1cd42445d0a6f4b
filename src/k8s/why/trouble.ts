import { conditionOf } from "../ready/readiness-parts.ts";
import { type StuckContainer, stuckContainers } from "../ready/readiness-workloads.ts";
import { numberOf, recordOf, recordsOf, textOf, type Json } from "../http/json.ts";
import { cut, subjectOf } from "./parts.ts";

/** Why one pod does not do what it should. */
export interface Trouble {
  readonly text: string;
  readonly what: "image" | "place" | "container" | "pod";
  /** Whose log may tell more; `previous` where it is the one before that died. */
  readonly culprit?: { readonly container: string; readonly previous: boolean };
}

const PULL = new Set(["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"]);

function specOf(pod: Json, container: string): Json {
  const spec = recordOf(pod["spec"]);
  const all = [...recordsOf(spec["initContainers"]), ...recordsOf(spec["containers"])];
  return all.find((one) => one["name"] === container) ?? {};
}

function statusesOf(pod: Json): Json[] {
  const status = recordOf(pod["status"]);
  return [...recordsOf(status["initContainerStatuses"]), ...recordsOf(status["containerStatuses"])];
}

/** Who was killed for want of memory is helped by knowing how much it may have. */
function memoryHint(pod: Json, container: string, reason: string | undefined): string {
  const limit = textOf(recordOf(recordOf(specOf(pod, container)["resources"])["limits"])["memory"]);
  return reason === "OOMKilled" && limit !== undefined ? `; its memory limit is ${limit}` : "";
}

function restartsOf(pod: Json, container: string): string {
  const restarts = numberOf(statusesOf(pod).find((one) => one["name"] === container)?.["restartCount"]) ?? 0;
  return restarts === 0 ? "" : ` after ${restarts} ${restarts === 1 ? "restart" : "restarts"}`;
}

function ofStuck(pod: Json, stuck: StuckContainer): Trouble {
  const { container, image, reason } = stuck;
  const { name } = subjectOf(pod);
  // The kubelet names the pod in it, with its uid.
  const message = stuck.message.replace(/ pod=\S+\([\w-]+\)/, "");
  const words = message === "" ? "" : `: ${cut(message)}`;
  if (PULL.has(reason))
    return {
      text: `pod ${name}: the image ${JSON.stringify(image)} of container ${container} cannot be pulled (${reason}${words})`,
      what: "image",
    };
  const again = restartsOf(pod, container);
  const last = recordOf(recordOf(statusesOf(pod).find((one) => one["name"] === container)?.["lastState"])["terminated"]);
  const text = `pod ${name}: container ${container} (image ${JSON.stringify(image)}) is in ${reason}${again}${words}`;
  // What never started wrote nothing.
  const culprit = reason === "CrashLoopBackOff" ? { culprit: { container, previous: true } } : {};
  return { text: `${text}${memoryHint(pod, container, textOf(last["reason"]))}`, what: "container", ...culprit };
}

/** A container that ended badly and is not, or not yet, started again. */
function ofEnded(pod: Json): Trouble | undefined {
  for (const status of statusesOf(pod)) {
    const ended = recordOf(recordOf(status["state"])["terminated"]);
    const code = numberOf(ended["exitCode"]) ?? 0;
    if (code === 0) continue;
    const container = textOf(status["name"]) ?? "";
    const reason = textOf(ended["reason"]);
    const message = textOf(ended["message"]) ?? "";
    return {
      text:
        `pod ${subjectOf(pod).name}: container ${container} ended with code ${code}${reason === undefined ? "" : ` (${reason})`}${restartsOf(pod, container)}` +
        `${message === "" ? "" : `: ${cut(message)}`}${memoryHint(pod, container, reason)}`,
      what: "container",
      culprit: { container, previous: false },
    };
  }
  return undefined;
}

function ofUnready(pod: Json): Trouble | undefined {
  const { name } = subjectOf(pod);
  const status = recordOf(pod["status"]);
  const init = recordsOf(status["initContainerStatuses"]).find(
    (one) => recordOf(one["state"])["running"] !== undefined && one["started"] !== true,
  );
  if (init !== undefined) {
    const container = textOf(init["name"]) ?? "";
    return {
      text: `pod ${name}: init container ${container} has not ended yet`,
      what: "container",
      culprit: { container, previous: false },
    };
  }
  const notReady = recordsOf(status["containerStatuses"]).filter((one) => one["ready"] !== true);
  const running = notReady.find((one) => recordOf(one["state"])["running"] !== undefined);
  if (running !== undefined) {
    const container = textOf(running["name"]) ?? "";
    const text = `pod ${name}: container ${container} runs and is not ready yet`;
    return { text, what: "container", culprit: { container, previous: false } };
  }
  const waiting = notReady
    .map((one) => textOf(recordOf(recordOf(one["state"])["waiting"])["reason"]))
    .find((reason) => reason !== undefined);
  if (waiting !== undefined) return { text: `pod ${name}: ${waiting}`, what: "pod" };
  const gate = recordsOf(recordOf(pod["spec"])["readinessGates"])
    .map((one) => textOf(one["conditionType"]) ?? "")
    .find((type) => conditionOf(pod, type)?.status !== "True");
  return gate === undefined ? undefined : { text: `pod ${name} waits for its readiness gate ${gate}`, what: "pod" };
}

/** What is the matter with one pod, in one sentence; undefined when nothing is, or it says nothing. Pure. */
export function troubleOf(pod: Json): Trouble | undefined {
  const { name } = subjectOf(pod);
  const status = recordOf(pod["status"]);
  const phase = textOf(status["phase"]) ?? "Pending";
  if (phase === "Succeeded" || (phase === "Running" && conditionOf(pod, "Ready")?.status === "True")) return undefined;
  const [stuck] = stuckContainers(pod);
  if (stuck !== undefined) return ofStuck(pod, stuck);
  const ended = ofEnded(pod);
  if (ended !== undefined) return ended;
  if (phase === "Failed") {
    const words = [textOf(status["reason"]), textOf(status["message"])].filter((part) => part !== undefined && part !== "");
    return { text: `pod ${name} failed${words.length === 0 ? "" : `: ${cut(words.join(": "))}`}`, what: "pod" };
  }
  const scheduled = conditionOf(pod, "PodScheduled");
  if (scheduled?.status === "False")
    return { text: `pod ${name} cannot be scheduled: ${cut(scheduled.message || scheduled.reason)}`, what: "place" };
  return ofUnready(pod);
}

export interface Gathered {
  readonly texts: readonly string[];
  /** The pod that stands for the most of them. */
  readonly witness: Json | undefined;
  readonly trouble: Trouble | undefined;
}

const KINDS_OF_TROUBLE = 2;

/** The troubles of many pods, alike ones counted once. */
export function gatherTroubles(pods: readonly Json[]): Gathered {
  const byReason = new Map<string, { readonly trouble: Trouble; readonly pod: Json; count: number }>();
  for (const pod of pods) {
    const trouble = troubleOf(pod);
    if (trouble === undefined) continue;
    // Names and counts differ from pod to pod, and the trouble is the same.
    const key = trouble.text.replaceAll(subjectOf(pod).name, "").replaceAll(/after \d+ restarts?|back-off \S+/g, "");
    const known = byReason.get(key);
    if (known === undefined) byReason.set(key, { trouble, pod, count: 1 });
    else known.count += 1;
  }
  const all = [...byReason.values()].toSorted((a, b) => b.count - a.count);
  return {
    texts: all
      .slice(0, KINDS_OF_TROUBLE)
      .map(({ trouble: { text }, count }) => (count === 1 ? text : `${text} (and ${count - 1} more alike)`)),
    witness: all[0]?.pod,
    trouble: all[0]?.trouble,
  };
}
