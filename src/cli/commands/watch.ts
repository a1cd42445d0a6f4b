import { duration } from "../../config/mod.ts";
import { LIMITS, type LogEntry } from "../../protocol/mod.ts";
import { errorOfOutcome, waitForEvent } from "../../producer/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { LiveTable } from "../live-table.ts";
import { OUTPUT_SETTINGS, type Shape, outputOf } from "../output.ts";
import { stepOf } from "../progress.ts";

const ENTRY_SHAPE: Shape<LogEntry> = {
  name: (entry) => `event/${entry.event_id}`,
  columns: [
    { head: "TIME", cell: (entry) => entry.timestamp },
    { head: "EVENT", cell: (entry) => entry.event_id },
    { head: "AGENT", cell: (entry) => entry.agent_id },
    { head: "STEP", cell: stepOf },
    { head: "LEVEL", cell: (entry) => entry.level, wide: true },
    { head: "MESSAGE", cell: (entry) => entry.message },
  ],
};

export const watch = command({
  summary: "Follow one event, or all of them",
  description:
    "With EVENT: every step from its beginning to its end, and an exit code as `send --wait` has. Without: every step of every event from now on, until Ctrl-C. A broken connection is taken up again where it broke.",
  settings: {
    "wait-timeout": duration({ describe: "With EVENT: how long to wait at most", min: 1, max: LIMITS.ttlMaxMs, flagOnly: true }),
    ...OUTPUT_SETTINGS,
    ...CLIENT_SETTINGS,
  },
  positional: { name: "EVENT", describe: "id of the event; all events without it", min: 0, max: 1, completes: "event" },
  examples: ["transporter watch", "transporter watch deploy-42", "transporter watch -o json | jq .message"],
  run: async (call) => {
    const client = await connect(call);
    const { host, values, ports, signal } = call;
    const table = new LiveTable(host.out, outputOf(values), ENTRY_SHAPE);
    const onInterruption = (why: Error | undefined): void => {
      if (why !== undefined) call.note(`${why.message}; waiting for it to come back`);
    };
    const [eventId] = call.positionals;
    if (eventId === undefined) {
      for await (const entry of client.followAll({ signal, onInterruption })) await table.add(entry);
      return EXIT.ok;
    }
    const outcome = await waitForEvent(client, eventId, {
      timers: ports.timers,
      signal,
      timeoutMs: values["wait-timeout"],
      onInterruption,
      onEntry: (entry) => table.add(entry),
    });
    const fault = errorOfOutcome(outcome);
    if (fault !== undefined) throw fault;
    return EXIT.ok;
  },
});
