import { TransporterError, failpoint } from "../kit/mod.ts";
import { type Accepted, NS_PER_MS, type WireEvent, durationNs } from "../protocol/mod.ts";
import { type EventFields, type ReadyEvent, submitEvent } from "../producer/mod.ts";
import type { Call } from "./command.ts";
import { connect } from "./connect.ts";
import { EXIT } from "./exit.ts";
import { followToEnd } from "./follow.ts";
import { goDuration } from "./go-duration.ts";
import { printData, outputOf } from "./output.ts";
import type { SendSettings } from "./send-settings.ts";
import { safeLine } from "./text.ts";

/** Refuses what this version lacks before anything is read or sent. */
export function checkMode(call: Call<SendSettings>): void {
  if (call.values.mode === "memphis")
    throw new TransporterError("CONFIG_INVALID", "--mode memphis: sending through Memphis is not available in this version yet", {
      remedy: "Leave --mode out to hand the event in over HTTP.",
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

/** Hands the event in as 0.1's producer did, line for line, and waits for its end where that is wanted. */
export async function sendEvent(call: Call<SendSettings>, event: ReadyEvent): Promise<number> {
  const { host, values, ports, signal } = call;
  const client = await connect(call);
  const emoji = host.err.isTerminal;
  const say = (mark: string, text: string): void => call.note(emoji ? `${mark} ${text}` : text);
  const keyed = event.wire.id === "";
  say("📤", `Publishing event ${keyed ? `with key ${event.idempotencyKey ?? ""}` : event.wire.id} to agent ${event.wire.target_agent}`);
  say("🔌", `Sending event to Control Plane at ${client.baseUrl}/events...`);
  const accepted = await submitEvent(client, event, ports, {
    signal,
    onRetry: (why) => call.note(`${why.message}; trying again`),
  });
  say("✅", "Event accepted by Control Plane");
  failpoint("producer.accepted");
  call.note(`   ${accepted.message}`);
  say("✅", "Event published successfully!");
  for (const line of detailLines({ ...event.wire, id: accepted.event_id })) host.err.write(`${line}\n`);
  const wait = values.wait ?? host.out.isTerminal;
  if (!wait) {
    await printAccepted(call, accepted);
    return EXIT.ok;
  }
  host.err.write("\n");
  return followToEnd(call, client, accepted.event_id);
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
  if (event.type === "k8s_resource") rows.push(["Manifests", `${event.payload.manifests?.length ?? 0} file(s)`]);
  return ["", "Event Details:", ...rows.map(([name, value]) => `  ${`${name}:`.padEnd(13)} ${safeLine(value)}`)];
}

async function printAccepted(call: Call<SendSettings>, accepted: Accepted): Promise<void> {
  const { format } = outputOf(call.values);
  if (format === "json" || format === "yaml") await printData(call.host.out, format, accepted);
  else call.host.out.write(`${format === "name" ? "event/" : ""}${safeLine(accepted.event_id)}\n`);
}
