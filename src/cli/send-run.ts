import { type QueueTarget, contradiction, memphisQueue, queueOfUrl } from "../config/mod.ts";
import { TransporterError, failpoint, silentLogger } from "../kit/mod.ts";
import { type Accepted, NS_PER_MS, needsCapability, type WireEvent, durationNs } from "../protocol/mod.ts";
import { type EventFields, type ReadyEvent, checkQueueSize, enqueueEvent, submitEvent } from "../producer/mod.ts";
import type { DeadLetter, QueueWriter } from "../queues/mod.ts";
import type { Call } from "./command.ts";
import { clientFor, connect, findTarget, isNamed } from "./connect.ts";
import { EXIT } from "./exit.ts";
import { followToEnd } from "./follow.ts";
import { goDuration } from "./go-duration.ts";
import { printData, outputOf } from "./output.ts";
import type { SendSettings } from "./send-settings.ts";
import { safeLine } from "./text.ts";

/** The queue that the event is to go through; undefined where it is handed to a control plane. Throws USAGE, CONFIG_INVALID. */
export function queueOf(call: Call<SendSettings>): QueueTarget | undefined {
  const { values, origins } = call;
  const { mode, queue: url } = values;
  const queue = url === undefined ? undefined : queueOfUrl(url, values, undefined);
  if (mode === "http" || (mode === undefined && queue === undefined)) return undefined;
  if (queue === undefined) {
    if (mode === "memphis") return memphisQueue(values, origins);
    throw new TransporterError("USAGE", `--mode ${mode ?? ""} needs the address of the queue`, {
      remedy: `Give --queue ${mode === "nats" ? "nats://HOST:4222/STREAM" : "redis://HOST:6379/DB"}, or TRANSPORTER_QUEUE.`,
    });
  }
  if (mode !== undefined && mode !== queue.kind)
    throw contradiction(origins.mode, origins.queue, `the address is one of ${queue.kind === "memphis" ? "a Memphis" : queue.kind}`);
  return queue;
}

/** Refuses contradictions before anything is read or sent. */
export function checkMode(call: Call<SendSettings>): void {
  const { values } = call;
  if (queueOf(call) !== undefined && values["idempotency-key"] !== undefined)
    throw new TransporterError("USAGE", "--idempotency-key: a control plane makes the id of it, and a queue asks none", {
      remedy: "Give --id: the same id sent again is the same event.",
    });
}

/** What the flags say about any event. Throws USAGE where they contradict each other. */
export function fieldsOf(call: Call<SendSettings>): EventFields {
  const { values } = call;
  if (values.id !== undefined && values["idempotency-key"] !== undefined)
    throw new TransporterError("USAGE", "--id and --idempotency-key: each says which event this is", { remedy: "Give one of the two." });
  const { name, label } = values;
  return {
    id: values.id,
    idempotencyKey: values["idempotency-key"],
    createdBy: values["created-by"],
    ttlMs: values.ttl,
    deadlineMs: values.deadline,
    notBefore: values["not-before"],
    delayMs: values.delay,
    retry: { attempts: values["retry-attempts"], backoffMs: values["retry-backoff"], maxBackoffMs: values["retry-max-backoff"] },
    priority: values.priority,
    labels: name === undefined ? label : { ...label, name },
  };
}

/** Prints the event that would be sent. */
export async function printDryRun(call: Call<SendSettings>, event: ReadyEvent, objects: number | undefined): Promise<number> {
  const { format } = outputOf(call.values);
  if (format === "name") call.host.out.write(`event/${safeLine(event.wire.id)}\n`);
  else await printData(call.host.out, format === "json" ? "json" : "yaml", JSON.parse(event.json));
  call.note(`dry run: nothing was sent${objects === undefined ? "" : `; the manifests hold ${objects} object${objects === 1 ? "" : "s"}`}`);
  return EXIT.ok;
}

type Say = (mark: string, text: string) => void;

/** Hands the event in as 0.1's producer did, line for line, and waits for its end where that is wanted. */
export async function sendEvent(call: Call<SendSettings>, event: ReadyEvent): Promise<number> {
  const emoji = call.host.err.isTerminal;
  const say: Say = (mark, text) => call.note(emoji ? `${mark} ${text}` : text);
  const queue = queueOf(call);
  return queue === undefined ? sendOverHttp(call, event, say) : sendThroughQueue(call, event, queue, say);
}

async function sendOverHttp(call: Call<SendSettings>, event: ReadyEvent, say: Say): Promise<number> {
  const { host, values, ports, signal } = call;
  const client = await connect(call);
  const keyed = event.wire.id === "";
  say("📤", `Publishing event ${keyed ? `with key ${event.idempotencyKey ?? ""}` : event.wire.id} to agent ${event.wire.target_agent}`);
  const path = needsCapability(event.wire.payload) ? "/v1/events" : "/events";
  say("🔌", `Sending event to Control Plane at ${client.baseUrl}${path}...`);
  const accepted = await submitEvent(client, event, ports, {
    signal,
    onRetry: (why) => call.note(`${why.message}; trying again`),
  });
  say("✅", "Event accepted by Control Plane");
  failpoint("producer.accepted");
  call.note(`   ${accepted.message}`);
  published(call, { ...event.wire, id: accepted.event_id }, say);
  const wait = values.wait ?? host.out.isTerminal;
  if (!wait) {
    await printAccepted(call, accepted);
    return EXIT.ok;
  }
  host.err.write("\n");
  return followToEnd(call, client, accepted.event_id);
}

/**
 * Puts the event into a queue. Waiting is asking a control plane: where `--wait` says so, or by itself on a terminal when it is known which.
 */
async function sendThroughQueue(call: Call<SendSettings>, event: ReadyEvent, queue: QueueTarget, say: Say): Promise<number> {
  const { host, values, ports, signal } = call;
  const target = values.wait === false ? undefined : await findTarget(call);
  const wait = target !== undefined && (values.wait ?? (host.out.isTerminal && isNamed(target)));
  const { openQueueWriter } = await import("../queues/mod.ts");
  const writer = await openQueueWriter(queue.url, { log: silentLogger, ports, secrets: queue.secrets });
  try {
    checkQueueSize(writer, event);
    const { location, name } = writer.info;
    // 0.1 knows this queue alone, and nothing of operations.
    if (queue.kind === "memphis" && needsCapability(event.wire.payload))
      call.note(
        "A control plane of 0.1 that reads this station would apply the manifests whatever the event says; make sure that none does",
      );
    const { id } = event.wire;
    say("📤", `Publishing event ${id} to agent ${event.wire.target_agent}`);
    say("🔌", `Sending event to queue ${name} at ${location}...`);
    const refused = wait ? await refusals(writer, id) : undefined;
    const { duplicate } = await enqueueEvent(writer, event, ports, {
      signal,
      onRetry: (why) => call.note(`${why.message}; trying again`),
    });
    say("✅", duplicate ? "The queue has this event already" : "Event is in the queue");
    failpoint("producer.accepted");
    published(call, event.wire, say);
    if (wait) {
      host.err.write("\n");
      return await followToEnd(call, await clientFor(target, call), id, { whileQueued: async () => refused?.() });
    }
    await printAccepted(call, { event_id: id, status: "queued", message: "Event is in the queue" });
    call.note(`A control plane takes it from there; follow it with: transporter watch ${id}`);
    return EXIT.ok;
  } finally {
    await writer.close();
  }
}

/** How many dead letters are looked through for an event that was sent a moment ago. */
const LETTERS = 200;

/** Throws when the event has gone to the dead letters since: no control plane will ever know it then. */
async function refusals(writer: QueueWriter, eventId: string): Promise<() => Promise<void>> {
  // Not everybody who may send may look there, and not every queue shows them.
  const letters = async (): Promise<readonly DeadLetter[]> => {
    const all = (await writer.deadLetters?.list(LETTERS).catch(() => undefined)) ?? [];
    return all.filter((letter) => letter.eventId === eventId);
  };
  const before = new Set((await letters()).map(({ id }) => id));
  return async () => {
    const letter = (await letters()).find(({ id }) => !before.has(id));
    if (letter === undefined) return;
    throw new TransporterError("EVENT_FAILED", `event ${eventId} was refused: ${letter.reason} (${letter.code})`, {
      details: { error_code: letter.code },
      remedy: `It is in the dead letters as ${letter.id}; \`transporter queue dead\` shows it. Correct it and send it under a new id.`,
    });
  };
}

function published(call: Call<SendSettings>, event: WireEvent, say: Say): void {
  say("✅", "Event published successfully!");
  for (const line of detailLines(event)) call.host.err.write(`${line}\n`);
}

/** 0.1's line, and for what names objects without manifests what is to be done with how many. */
function workRows({ operation, manifests, references, patches }: WireEvent["payload"]): [string, string][] {
  const named = (references?.length ?? 0) + (patches?.length ?? 0);
  const files = manifests?.length ?? 0;
  return [
    ...((operation ?? "apply") === "apply" ? [] : [["Operation", operation ?? ""] satisfies [string, string]]),
    ...(named === 0 ? [] : [["Objects", `${named} by name`] satisfies [string, string]]),
    ...(named > 0 && files === 0 ? [] : [["Manifests", `${files} file(s)`] satisfies [string, string]]),
  ];
}

function detailLines(event: WireEvent): string[] {
  const ttlNs = event.ttl === undefined || event.ttl === null ? undefined : durationNs(event.ttl);
  const rows: [string, string][] = [
    ["ID", event.id],
    ["Type", event.type],
    ["Target Agent", event.target_agent],
    ["Created By", event.created_by ?? ""],
    ["Created At", (event.created_at ?? "").replace(/\.\d+(?=Z|[+-])/, "")],
    ["TTL", ttlNs === undefined ? "" : goDuration(ttlNs / NS_PER_MS)],
  ];
  if (event.type === "k8s_resource") rows.push(...workRows(event.payload));
  return ["", "Event Details:", ...rows.map(([name, value]) => `  ${`${name}:`.padEnd(13)} ${safeLine(value)}`)];
}

async function printAccepted(call: Call<SendSettings>, accepted: Omit<Accepted, "status"> & { readonly status: string }): Promise<void> {
  const { format } = outputOf(call.values);
  if (format === "json" || format === "yaml") await printData(call.host.out, format, accepted);
  else call.host.out.write(`${format === "name" ? "event/" : ""}${safeLine(accepted.event_id)}\n`);
}
