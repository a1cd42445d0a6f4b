import type { KubeClient } from "../http/client.ts";
import { parseRecord, recordOf, recordsOf, textOf, type Json } from "../http/json.ts";
import { conditionOf, conditionsOf } from "../ready/readiness-parts.ts";
import { type LogLines, lastLines } from "./log-lines.ts";
import { cut, type Subject, subjectOf } from "./parts.ts";
import { crewOf } from "./pods.ts";
import { gatherTroubles, type Trouble } from "./trouble.ts";
import { warningsOf } from "./warnings.ts";

export interface Explanation {
  /** Sentences with semicolons between; empty when nothing is known beyond the object's own status. */
  readonly text: string;
  /** What the container that does not do what it should wrote last. */
  readonly log?: LogLines;
}

export interface ExplainOptions {
  readonly signal?: AbortSignal | undefined;
  /** Without what containers wrote: while one waits it is too much. */
  readonly brief?: boolean;
}

/** Kinds that have pods, by `kind`, all of them of built-in groups. */
const WORKLOADS = new Set(["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job"]);
/** Of a pod, and of each that stands above it. */
const WARNINGS_OF_POD = 2;
const WARNINGS_ABOVE = 1;
const CLAIMS = 3;
/** Shorter ends of a message can be said of something else. */
const TELLING_TAIL = 30;
/** So many lines of a log stand in the text; the details have more. */
const LINES_IN_TEXT = 3;

/** The same words, whatever the names of pods and the numbers of ports in them. */
function bare(text: string): string {
  return text
    .replaceAll(/"[^"]*"/g, '""')
    .replaceAll("Error creating: ", "")
    .replaceAll(/\d+/g, "0")
    .toLowerCase();
}

/** What comes after the words that an event puts before somebody else's. */
function tailOf(text: string): string {
  const at = text.indexOf(": ");
  return at === -1 ? text : text.slice(at + 2);
}

/** Events that only say that the kubelet does as the pod's state says already. */
const NOISE = /^(?:Back-off (?:restarting failed container|pulling image)|Error: (?:ErrImagePull|ImagePullBackOff)$)/;

class Telling {
  readonly #parts: string[] = [];

  add(text: string): void {
    if (text !== "" && !this.has(text)) this.#parts.push(text);
  }

  has(text: string): boolean {
    const said = bare(this.text);
    const tail = bare(tailOf(text));
    return said.includes(bare(text)) || (tail.length > TELLING_TAIL && said.includes(tail));
  }

  get text(): string {
    return this.#parts.join("; ");
  }
}

/** What the last events warn of, as far as it was not said already. */
async function addWarnings(
  client: KubeClient,
  telling: Telling,
  subject: Subject,
  most: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const warnings = (await warningsOf(client, subject, signal))
    .filter(({ message }) => !NOISE.test(message) && !telling.has(message))
    .slice(0, most);
  for (const { reason, message } of warnings) {
    const whose = subject.kind === "Pod" || subject.kind === "ReplicaSet" ? ` of ${subject.kind} ${subject.name}` : "";
    telling.add(`last warning${whose}: ${reason}: ${message}`);
  }
  return warnings.length > 0;
}

/** A pod that waits for volumes: which of its claims is not bound, and why. */
async function addClaims(client: KubeClient, telling: Telling, pod: Json, signal: AbortSignal | undefined): Promise<void> {
  const { namespace } = subjectOf(pod);
  const names = recordsOf(recordOf(pod["spec"])["volumes"]).flatMap(
    (volume) => textOf(recordOf(volume["persistentVolumeClaim"])["claimName"]) ?? [],
  );
  for (const name of names.slice(0, CLAIMS)) {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/persistentvolumeclaims/${encodeURIComponent(name)}`;
    const answer = await client.send({ method: "GET", path, signal });
    if (answer.status === 404) telling.add(`PersistentVolumeClaim ${namespace}/${name} does not exist`);
    if (answer.status !== 200) continue;
    const claim = parseRecord(answer.text);
    const phase = textOf(recordOf(claim["status"])["phase"]) ?? "Pending";
    if (phase === "Bound") continue;
    const [warning] = await warningsOf(client, subjectOf({ kind: "PersistentVolumeClaim", ...claim }), signal);
    telling.add(`PersistentVolumeClaim ${namespace}/${name} is ${phase}${warning === undefined ? "" : `: ${warning.message}`}`);
  }
}

async function logOf(client: KubeClient, pod: Json, trouble: Trouble, signal: AbortSignal | undefined): Promise<LogLines | undefined> {
  const { culprit } = trouble;
  if (culprit === undefined) return undefined;
  return lastLines(client, subjectOf(pod), culprit.container, culprit.previous, signal);
}

/** The pods of a workload, or the pod itself: what they wait for, what warns of it, what they wrote last. */
async function explainPods(client: KubeClient, telling: Telling, object: Json, options: ExplainOptions): Promise<LogLines | undefined> {
  const { signal, brief = false } = options;
  const subject = subjectOf(object);
  const failure = conditionOf(object, "ReplicaFailure");
  if (failure?.status === "True") telling.add(cut(failure.message || failure.reason));
  const { pods, maker } = subject.kind === "Pod" ? { pods: [object], maker: undefined } : await crewOf(client, object, signal);
  const { texts, witness, trouble } = gatherTroubles(pods);
  for (const text of texts) telling.add(text);
  if (witness !== undefined) {
    if (trouble?.what === "place") await addClaims(client, telling, witness, signal);
    await addWarnings(client, telling, subjectOf(witness), WARNINGS_OF_POD, signal);
  }
  if (maker !== undefined) await addWarnings(client, telling, subjectOf(maker), WARNINGS_ABOVE, signal);
  if (subject.kind !== "Pod") await addWarnings(client, telling, subject, WARNINGS_ABOVE, signal);
  if (brief || witness === undefined || trouble === undefined) return undefined;
  const log = await logOf(client, witness, trouble, signal);
  if (log === undefined) return undefined;
  const last = log.lines.slice(-LINES_IN_TEXT);
  if (last.length > 0) telling.add(`container ${log.container} wrote last: ${last.join(" | ")}`);
  return log;
}

async function explainOther(client: KubeClient, telling: Telling, object: Json, signal: AbortSignal | undefined): Promise<void> {
  const subject = subjectOf(object);
  if (subject.kind === "HorizontalPodAutoscaler")
    for (const { type, status, message } of conditionsOf(object))
      if (status === "False" && type !== "ScalingLimited") telling.add(cut(message));
  const warned = await addWarnings(client, telling, subject, WARNINGS_OF_POD, signal);
  if (!warned && subject.kind === "Service")
    telling.add("no event tells of an address being given, so perhaps nothing in this cluster gives load balancers theirs");
}

/**
 * Why an object is not ready, as somebody on call would put it: what its newest pods wait for (with the image's name where it is the
 * image), what cannot be scheduled and which claim it waits for, which quota or webhook stands in the way, the last warnings of pod and
 * owner, and the last lines of the container that fails. Reads pods, replica sets, claims, events and logs; where it may not, it says less.
 */
export async function explain(client: KubeClient, object: Json, options: ExplainOptions = {}): Promise<Explanation> {
  const telling = new Telling();
  const { kind, namespace } = subjectOf(object);
  if ((kind === "Pod" || WORKLOADS.has(kind)) && namespace !== "") {
    const log = await explainPods(client, telling, object, options);
    return { text: telling.text, ...(log === undefined ? {} : { log }) };
  }
  await explainOther(client, telling, object, options.signal);
  return { text: telling.text };
}
