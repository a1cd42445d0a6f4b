import { TransporterError, failpoint } from "../kit/mod.ts";
import { type Accepted, NS_PER_MS, type WireEvent, durationNs } from "../protocol/mod.ts";
import type { Client } from "../client/mod.ts";
import { type ReadyEvent, errorOfOutcome, submitEvent, waitForEvent } from "../producer/mod.ts";
import { type Call, Interrupted } from "./command.ts";
import { connect } from "./connect.ts";
import { EXIT } from "./exit.ts";
import { goDuration } from "./go-duration.ts";
import { printData, outputOf } from "./output.ts";
import { Progress } from "./progress.ts";
import { RESOURCE_COLUMNS, resourcesOf } from "./resources.ts";
import type { SendSettings } from "./send-settings.ts";
import { renderTable } from "./table.ts";
import { safeLine } from "./text.ts";

/** Refuses what this version lacks before anything is read or sent. */
export function checkMode(call: Call<SendSettings>): void {
  if (call.values.mode === "memphis")
    throw new TransporterError("CONFIG_INVALID", "--mode memphis: sending through Memphis is not available in this version yet", {
      remedy: "Leave --mode out to hand the event in over HTTP.",
    });
}

/** The labels of the flags, `--name` among them. */
export function labelsOf(call: Call<SendSettings>): Readonly<Record<string, string>> {
  const { name, label } = call.values;
  return name === undefined ? label : { ...label, name };
}

/** Prints the event that would be sent. */
export async function printDryRun(call: Call<SendSettings>, event: ReadyEvent, objects: number | undefined): Promise<number> {
  const { format } = outputOf(call.values);
  if (format === "name") call.host.out.write(`event/${safeLine(event.wire.id)}\n`);
  else await printData(call.host.out, format === "json" ? "json" : "yaml", event.wire);
  call.note(`dry run: nothing was sent${objects === undefined ? "" : `; the manifests hold ${objects} object${objects === 1 ? "" : "s"}`}`);
  return EXIT.ok;
}

/** Hands the event in as 0.1's producer did, line for line, and waits for its end where that is wanted. */
export async function sendEvent(call: Call<SendSettings>, event: ReadyEvent): Promise<number> {
  const { host, values, ports, signal } = call;
  const client = await connect(call);
  const emoji = host.err.isTerminal;
  const say = (mark: string, text: string): void => call.note(emoji ? `${mark} ${text}` : text);
  say("📤", `Publishing event ${event.wire.id} to agent ${event.wire.target_agent}`);
  say("🔌", `Sending event to Control Plane at ${client.baseUrl}/events...`);
  const accepted = await submitEvent(client, event.json, ports, {
    signal,
    onRetry: (why) => call.note(`${why.message}; trying again`),
  });
  say("✅", "Event accepted by Control Plane");
  failpoint("producer.accepted");
  call.note(`   ${accepted.message}`);
  say("✅", "Event published successfully!");
  for (const line of detailLines(event.wire)) host.err.write(`${line}\n`);
  const wait = values.wait ?? host.out.isTerminal;
  if (!wait) {
    await printAccepted(call, accepted);
    return EXIT.ok;
  }
  host.err.write("\n");
  return follow(call, client, event.wire.id);
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

/** Shows the event's way to its end, then its objects. Throws what the ending stands for, unless it completed. */
async function follow(call: Call<SendSettings>, client: Client, eventId: string): Promise<number> {
  const { host, ports, signal, values } = call;
  const progress = new Progress(host, ports.timers, () => ports.clock.monotonic());
  try {
    const outcome = await waitForEvent(client, eventId, {
      timers: ports.timers,
      signal,
      timeoutMs: values["wait-timeout"],
      patient: true,
      onEntry: (entry) => progress.entry(entry),
      onInterruption: (why) => progress.interruption(why === undefined ? undefined : `${why.message}; waiting for it to come back`),
    });
    progress.stop();
    const output = outputOf(values);
    if (output.format === "json" || output.format === "yaml")
      await printData(host.out, output.format, await client.getEvent(eventId, { signal }));
    else if (output.format === "name") host.out.write(`event/${safeLine(eventId)}\n`);
    else {
      const resources = resourcesOf(outcome.result);
      if (resources.length > 0) {
        if (host.err.isTerminal && host.out.isTerminal) host.err.write("\n");
        host.out.write(renderTable(resources, RESOURCE_COLUMNS, { wide: output.format === "wide", headers: output.headers }));
      }
    }
    const fault = errorOfOutcome(outcome);
    if (fault !== undefined) throw fault;
    return EXIT.ok;
  } catch (error) {
    progress.stop();
    if (signal.aborted && signal.reason instanceof Interrupted)
      call.note(`The event goes on without you; follow it with: transporter watch ${eventId}`);
    throw error;
  }
}
