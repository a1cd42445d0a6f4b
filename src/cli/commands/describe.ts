import { toggle } from "../../config/mod.ts";
import { type AgentView, type EventDetail, NS_PER_MS, formatDurationMs } from "../../protocol/mod.ts";
import { age } from "../age.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { agentShape, clockText, eventShape } from "../event-shape.ts";
import { diffText } from "../diff-view.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, outputOf, printOne } from "../output.ts";
import { stepOf } from "../progress.ts";
import { RESOURCE_COLUMNS, resourcesOf } from "../resources.ts";
import { renderTable } from "../table.ts";
import { painter, safeLine, safeText } from "../text.ts";

type Row = readonly [string, string | number | undefined];

function rows(lines: readonly Row[]): string {
  const shown = lines.filter(([, value]) => value !== undefined && value !== "");
  const width = Math.max(...shown.map(([name]) => name.length)) + 1;
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width)}  ${indented(String(value), width + 2)}\n`).join("");
}

function indented(text: string, columns: number): string {
  return safeText(text.trimEnd()).replaceAll("\n", `\n${" ".repeat(columns)}`);
}

const mapText = (map: Readonly<Record<string, unknown>>): string =>
  Object.entries(map)
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join("\n");

const at = (timestamp: string | undefined, nowMs: number): string =>
  timestamp === undefined ? "" : `${timestamp} (${age(timestamp, nowMs)} ago)`;

function retryText({ attempts, backoff, max_backoff }: NonNullable<EventDetail["retry"]>): string {
  const waits = `waits of at most ${formatDurationMs(backoff / NS_PER_MS)}, doubled up to ${formatDurationMs(max_backoff / NS_PER_MS)}`;
  return attempts === 1 ? "never" : `${attempts} attempts, ${waits}`;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What the last word about the event says beside its message. */
function detailsOf(event: EventDetail): Readonly<Record<string, unknown>> {
  return event.log.findLast(({ details }) => details !== undefined)?.details ?? {};
}

function remedyOf(event: EventDetail): string {
  const { remedy } = detailsOf(event);
  return event.state === "failed" && typeof remedy === "string" ? remedy : "";
}

/** The last lines that containers wrote which keep objects from getting ready. */
function containerLogs(event: EventDetail): string {
  const { not_ready: unready } = detailsOf(event);
  const logs = (Array.isArray(unready) ? unready : []).flatMap((one: unknown) =>
    isRecord(one) && isRecord(one["log"]) ? [one["log"]] : [],
  );
  return logs
    .map(({ pod, container, lines }) => {
      const text = (Array.isArray(lines) ? lines : []).map((line) => `  ${safeLine(String(line))}\n`).join("");
      return text === "" ? "" : `\nLast lines of container ${safeLine(String(container))} of pod ${safeLine(String(pod))}:\n${text}`;
    })
    .join("");
}

function eventText(event: EventDetail, nowMs: number): string {
  const resources = resourcesOf(event.result);
  const took = event.result?.duration;
  const head = rows([
    ["Event", event.id],
    ["Type", event.type],
    ["Operation", event.operation],
    ["Target Agent", event.target_agent],
    ["State", event.cancel_requested === true ? `${event.state}, cancelling` : event.state],
    ["Phase", event.phase],
    ["Message", event.message],
    ["Error", event.result?.error_message ?? ""],
    ["Error Code", event.result?.error_code ?? ""],
    ["Remedy", remedyOf(event)],
    ["Plan", event.result?.plan ?? ""],
    ["Priority", event.priority],
    ["Labels", mapText(event.labels)],
    ["Created By", event.created_by],
    ["Principal", event.principal],
    ["Created", event.created_at],
    ["Received", at(event.received_at, nowMs)],
    ["Updated", at(event.updated_at, nowMs)],
    ["Not Before", event.not_before],
    ["Expires", event.expires_at],
    ["Finished", event.finished_at],
    ["Took", took === undefined || took === null ? "" : formatDurationMs(took / NS_PER_MS)],
    ["TTL", formatDurationMs(event.ttl / NS_PER_MS)],
    ["Deadline", event.deadline === undefined ? "" : formatDurationMs(event.deadline / NS_PER_MS)],
    ["Retry", event.retry === undefined ? "" : retryText(event.retry)],
    ["Revision", event.revision],
    ["Attempts", event.attempts],
    ["Trace", event.traceparent],
    ["CloudEvent", event.cloudevent === undefined ? "" : `${event.cloudevent.id} of ${event.cloudevent.source}`],
    ["Payload", `${event.payload_bytes} bytes, sha256 ${event.payload_sha256}`],
  ]);
  const log = event.log
    .map((entry) => {
      const lead = safeLine(`${entry.timestamp}  ${stepOf(entry).padEnd(11)} ${entry.level}`).padEnd(entry.timestamp.length + 22);
      return `  ${lead} ${indented(entry.message, lead.length + 3)}\n`;
    })
    .join("");
  const table =
    resources.length === 0 ? "" : `\nObjects:\n${indentLines(renderTable(resources, RESOURCE_COLUMNS, { wide: true, headers: true }))}`;
  const differences = diffText(resources, painter(false));
  const shown = differences === "" ? "" : `\nDifferences:\n${indentLines(differences)}`;
  return `${head}${table}${shown}${containerLogs(event)}\nLog:\n${log === "" ? "  (empty)\n" : log}`;
}

function indentLines(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}

function agentText(agent: AgentView, nowMs: number): string {
  return rows([
    ["Agent", agent.id],
    ["Name", agent.name],
    ["Cluster", agent.cluster_name],
    ["Provider", agent.cluster_provider],
    ["Region", agent.region],
    ["Namespace", agent.namespace],
    ["Status", agent.paused ? `${agent.status}, paused` : agent.status],
    ["Version", agent.version],
    ["Protocol", agent.protocol === 0 ? "0.1" : agent.protocol],
    ["Features", agent.features.join(", ")],
    ["Capabilities", agent.capabilities.join(", ")],
    ["Hostname", agent.hostname],
    ["Address", agent.remote_address],
    ["Replica", agent.replica],
    ["Connected", at(agent.connected_at, nowMs)],
    ["Disconnected", at(agent.disconnected_at, nowMs)],
    ["Last Seen", at(agent.last_seen_at, nowMs)],
    ["Clock Offset", clockText(agent.clock_offset_ms)],
    ["In Flight", agent.in_flight],
    ["Queued", agent.queued],
    ["Labels", mapText(agent.labels)],
    ["Metadata", mapText(agent.metadata)],
  ]);
}

export const describeEvent = command({
  summary: "Show an event with its log and its objects",
  settings: {
    payload: toggle(false, { describe: "With -o json or yaml: the manifests too, which may hold secrets", flagOnly: true }),
    ...OUTPUT_SETTINGS,
    ...CLIENT_SETTINGS,
  },
  positional: { name: "EVENT", describe: "id of the event", min: 1, max: 1, completes: "event" },
  examples: ["transporter describe event 0198b2c4-…", "transporter describe event deploy-42 --payload -o yaml"],
  run: async (call) => {
    const client = await connect(call);
    const event = await client.getEvent(call.positionals[0] ?? "", { signal: call.signal, payload: call.values.payload });
    const output = outputOf(call.values);
    if (output.format === "table" || output.format === "wide") call.host.out.write(eventText(event, call.ports.clock.now()));
    else await printOne(call.host.out, output, { ...eventShape(0), name: (item) => `event/${item.id}` }, event);
    return EXIT.ok;
  },
});

export const describeAgent = command({
  summary: "Show an agent",
  settings: { ...OUTPUT_SETTINGS, ...CLIENT_SETTINGS },
  positional: { name: "AGENT", describe: "id of the agent", min: 1, max: 1, completes: "agent" },
  examples: ["transporter describe agent agent-1"],
  run: async (call) => {
    const client = await connect(call);
    const agent = await client.getAgent(call.positionals[0] ?? "", { signal: call.signal });
    const output = outputOf(call.values);
    if (output.format === "table" || output.format === "wide") call.host.out.write(agentText(agent, call.ports.clock.now()));
    else await printOne(call.host.out, output, agentShape(0), agent);
    return EXIT.ok;
  },
});
