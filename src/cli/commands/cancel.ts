import { toggle } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { waitForEvent } from "../../producer/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { forEach } from "../each.ts";
import { safeLine } from "../text.ts";
import { WAIT_SETTINGS } from "../wait-settings.ts";

export const cancel = command({
  summary: "Cancel events",
  description:
    "An event that waits is cancelled at once. One that is with its agent is asked for and told as `cancelling`: the agent stops at its next safe point, and --wait waits for that. One that has ended, or ends otherwise before it could be stopped, is a conflict (exit code 5).",
  settings: {
    wait: toggle(false, { describe: "Wait until the event has ended", flagOnly: true }),
    "wait-timeout": WAIT_SETTINGS["wait-timeout"],
    ...CLIENT_SETTINGS,
  },
  positional: { name: "EVENT", describe: "ids of the events", min: 1, max: 1000, completes: "event" },
  examples: [
    "transporter cancel deploy-42",
    "transporter cancel deploy-42 --wait --wait-timeout 1m",
    "transporter cancel $(transporter get events --state queued -o name | cut -d/ -f2)",
  ],
  run: async (call) => {
    const client = await connect(call);
    const { ports, signal, values } = call;
    return forEach(call, async (id) => {
      const { status } = await client.cancelEvent(id, { signal });
      if (status === "cancelling" && values.wait) {
        const { state } = await waitForEvent(client, id, {
          timers: ports.timers,
          signal,
          timeoutMs: values["wait-timeout"],
          patient: true,
        });
        if (state !== "cancelled")
          throw new TransporterError("EVENT_NOT_CANCELLABLE", `event ${id} ended as ${state} before it could be stopped`);
        call.host.out.write(`event/${safeLine(id)} cancelled\n`);
        return;
      }
      call.host.out.write(`event/${safeLine(id)} ${status}\n`);
      if (status === "cancelling")
        call.note(`Its agent is told to stop at the next safe point; see how it ends with: transporter watch ${id}`);
    });
  },
});
