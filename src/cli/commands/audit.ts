import { integerOr, text, toggle } from "../../config/mod.ts";
import { type AuditEntry, LIMITS } from "../../protocol/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, type Shape, outputOf, printList } from "../output.ts";

const AUDIT_SHAPE: Shape<AuditEntry> = {
  name: (entry) => `audit/${entry.seq}`,
  columns: [
    { head: "TIME", cell: (entry) => entry.timestamp },
    { head: "ACTION", cell: (entry) => entry.action },
    { head: "EVENT", cell: (entry) => entry.event_id ?? "" },
    { head: "AGENT", cell: (entry) => entry.agent_id ?? "" },
    { head: "USER", cell: (entry) => entry.user ?? "" },
    { head: "PRINCIPAL", cell: (entry) => entry.principal },
    { head: "FROM", cell: (entry) => entry.remote_address ?? "", wide: true },
    { head: "REQUEST", cell: (entry) => entry.request_id ?? "", wide: true },
    { head: "DETAILS", cell: (entry) => (entry.details === undefined ? "" : JSON.stringify(entry.details)), wide: true },
  ],
};

export const audit = command({
  summary: "List who did what, newest first",
  description: "PRINCIPAL is who it was; USER is only what the sender claimed.",
  settings: {
    action: text({ describe: "Only this action, such as event_received_http or agent_connected", hint: "ACTION", flagOnly: true }),
    event: text({ describe: "Only entries about this event", hint: "ID", flagOnly: true, completes: "event" }),
    agent: text({ describe: "Only entries about this agent", hint: "ID", flagOnly: true, completes: "agent" }),
    since: text({ describe: "Since a duration ago (24h) or a time", hint: "TIME", flagOnly: true }),
    until: text({ describe: "Until a duration ago or a time", hint: "TIME", flagOnly: true }),
    limit: integerOr(LIMITS.pageDefault, { describe: "How many at most", min: 1, max: 1_000_000, flagOnly: true }),
    all: toggle(false, { describe: "All of them, however many", flagOnly: true }),
    ...OUTPUT_SETTINGS,
    ...CLIENT_SETTINGS,
  },
  examples: ["transporter audit --since 24h", "transporter audit --event deploy-42 -o json"],
  run: async (call) => {
    const client = await connect(call);
    const { values, signal, host } = call;
    const limit = values.all ? Number.POSITIVE_INFINITY : values.limit;
    const items: AuditEntry[] = [];
    let cursor: string | undefined;
    do {
      const page = await client.listAudit(
        {
          action: values.action,
          event: values.event,
          agent: values.agent,
          since: values.since,
          until: values.until,
          limit: Math.min(LIMITS.pageMax, limit - items.length),
          cursor,
        },
        { signal },
      );
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor !== undefined && items.length < limit);
    const output = outputOf(values);
    await printList(host.out, output, AUDIT_SHAPE, items, cursor);
    if (items.length === 0 && (output.format === "table" || output.format === "wide")) call.note("No audit entries found.");
    return EXIT.ok;
  },
});
