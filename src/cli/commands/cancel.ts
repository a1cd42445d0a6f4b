import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { forEach } from "../each.ts";
import { safeLine } from "../text.ts";

export const cancel = command({
  summary: "Cancel events that have not started",
  description:
    "An event can be cancelled until it is handed to its agent; one that is with its agent or finished is a conflict (exit code 5).",
  settings: CLIENT_SETTINGS,
  positional: { name: "EVENT", describe: "ids of the events", min: 1, max: 1000, completes: "event" },
  examples: ["transporter cancel deploy-42", "transporter cancel $(transporter get events --state queued -o name | cut -d/ -f2)"],
  run: async (call) => {
    const client = await connect(call);
    return forEach(call, async (id) => {
      await client.cancelEvent(id, { signal: call.signal });
      call.host.out.write(`event/${safeLine(id)} cancelled\n`);
    });
  },
});
