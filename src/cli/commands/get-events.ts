import type { Client, EventFilter } from "../../client/mod.ts";
import { type ValuesOf, integerOr, list, pairs, text, toggle } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import {
  type EventSummary,
  LIMITS,
  type LogEntry,
  type State,
  StateSchema,
  parseGoDuration,
  parseTimestampMs,
} from "../../protocol/mod.ts";
import { type Call, command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { eventShape } from "../event-shape.ts";
import { EXIT } from "../exit.ts";
import { LiveTable } from "../live-table.ts";
import { OUTPUT_SETTINGS, outputOf, printList, printOne } from "../output.ts";

const STATES: ReadonlySet<string> = new Set(StateSchema.options);
const checkTime = (value: string): string | undefined =>
  parseTimestampMs(value) !== undefined || (parseGoDuration(value) ?? 0) > 0
    ? undefined
    : "a duration ago (24h) or a time (2026-02-10T10:00:00Z)";

const SETTINGS = {
  state: list({
    describe: `Only these states: ${StateSchema.options.join(", ")}`,
    hint: "STATE",
    flagOnly: true,
    check: (state) => (STATES.has(state) ? undefined : StateSchema.options.join(", ")),
  }),
  agent: text({ describe: "Only events for this agent", hint: "ID", flagOnly: true, completes: "agent" }),
  type: text({ describe: "Only this type: k8s_resource, script or policy", hint: "TYPE", flagOnly: true }),
  label: pairs({ short: "l", describe: "Only events with this label; repeatable, all must match", flagOnly: true }),
  "created-by": text({ describe: "Only events of this sender", hint: "NAME", flagOnly: true }),
  since: text({ describe: "Received since, a duration ago or a time", hint: "TIME", flagOnly: true, check: checkTime }),
  until: text({ describe: "Received before, a duration ago or a time", hint: "TIME", flagOnly: true, check: checkTime }),
  limit: integerOr(LIMITS.pageDefault, { describe: "How many at most", min: 1, max: 1_000_000, flagOnly: true }),
  all: toggle(false, { describe: "All of them, however many", flagOnly: true }),
  watch: toggle(false, { short: "w", describe: "Go on with every change", flagOnly: true }),
  ...OUTPUT_SETTINGS,
  ...CLIENT_SETTINGS,
} as const;

export const getEvents = command({
  summary: "List events, newest first",
  settings: SETTINGS,
  positional: { name: "EVENT", describe: "only these events, by id", min: 0, max: 100, completes: "event" },
  examples: [
    "transporter get events --state queued,in_progress",
    "transporter get events --agent agent-1 --since 1h -o wide",
    "transporter get events -l team=shop --all -o json",
    "transporter get events -w",
  ],
  run: async (call) => {
    const client = await connect(call);
    const { host, values, ports, signal, positionals } = call;
    const output = outputOf(values);
    const shape = eventShape(ports.clock.now());
    if (positionals.length > 0) {
      if (values.watch)
        throw new TransporterError("USAGE", "--watch goes with a list, not with single events", {
          remedy: "Use `transporter watch EVENT`.",
        });
      const found: EventSummary[] = [];
      for (const id of positionals) found.push(summaryOf(await client.getEvent(id, { signal })));
      const [first] = found;
      if (found.length === 1 && first !== undefined) await printOne(host.out, output, shape, first);
      else await printList(host.out, output, shape, found);
      return EXIT.ok;
    }
    const filter = filterOf(values);
    if (values.watch) return follow(call, client, filter);
    const { items, nextCursor } = await listUpTo(client, filter, values.all ? Number.POSITIVE_INFINITY : values.limit, signal);
    await printList(host.out, output, shape, items, nextCursor);
    if (items.length === 0 && (output.format === "table" || output.format === "wide")) call.note("No events found.");
    if (nextCursor !== undefined && output.format !== "json" && output.format !== "yaml")
      call.note(`There are more; use --limit or --all to see them.`);
    return EXIT.ok;
  },
});

function filterOf(values: ValuesOf<typeof SETTINGS>): EventFilter {
  return {
    states: values.state.filter((state): state is State => STATES.has(state)),
    agent: values.agent,
    type: values.type,
    labels: values.label,
    createdBy: values["created-by"],
    since: values.since,
    until: values.until,
  };
}

/** An event as lists show it: a detail answers more than anybody asked `get` for. */
function summaryOf({
  ttl: _ttl,
  deadline: _deadline,
  attempts: _attempts,
  payload: _payload,
  log: _log,
  result: _result,
  ...summary
}: Awaited<ReturnType<Client["getEvent"]>>): EventSummary {
  return summary;
}

async function listUpTo(
  client: Client,
  filter: EventFilter,
  limit: number,
  signal: AbortSignal,
): Promise<{ readonly items: EventSummary[]; readonly nextCursor: string | undefined }> {
  const items: EventSummary[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.listEvents({ ...filter, limit: Math.min(LIMITS.pageMax, limit - items.length), cursor }, { signal });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== undefined && items.length < limit);
  return { items, nextCursor: cursor };
}

/** Lists, then shows each event again whenever something happens to it. */
async function follow(call: Call<typeof SETTINGS>, client: Client, filter: EventFilter): Promise<number> {
  const { host, values, ports, signal } = call;
  const opened = Promise.withResolvers<void>();
  const entries = client.followAll({
    signal,
    onOpen: () => opened.resolve(),
    onInterruption: (why) => {
      if (why !== undefined) call.note(`${why.message}; waiting for it to come back`);
    },
  });
  // The stream is open before the list is asked for, so that nothing falls between the two.
  const ask = (): Promise<IteratorResult<LogEntry>> => {
    const step = entries.next();
    // Awaited in its turn; what fails before that must not count as unhandled.
    step.catch(() => undefined);
    return step;
  };
  let next = ask();
  await Promise.race([opened.promise, next]);
  const table = new LiveTable(host.out, outputOf(values), eventShape(ports.clock.now()));
  const { items } = await listUpTo(client, filter, values.all ? Number.POSITIVE_INFINITY : values.limit, signal);
  for (const item of items.toReversed()) await table.add(item);
  for (;;) {
    const step = await next;
    if (step.done === true) return EXIT.ok;
    next = ask();
    if (filter.agent !== undefined && step.value.agent_id !== filter.agent) continue;
    const summary = await client.getEvent(step.value.event_id, { signal }).then(summaryOf, (error: unknown) => {
      if (error instanceof TransporterError && error.code === "EVENT_NOT_FOUND") return undefined;
      throw error;
    });
    if (summary === undefined || !matches(summary, filter)) continue;
    // As it was at this step; a quick event has gone on since.
    await table.add({ ...summary, state: step.value.state, phase: step.value.phase, message: step.value.message });
  }
}

function matches(event: EventSummary, filter: EventFilter): boolean {
  if (filter.type !== undefined && event.type !== filter.type) return false;
  if (filter.createdBy !== undefined && event.created_by !== filter.createdBy) return false;
  return Object.entries(filter.labels ?? {}).every(([key, value]) => event.labels[key] === value);
}
