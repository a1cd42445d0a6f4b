import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { forEach } from "../each.ts";
import { followToEnd } from "../follow.ts";
import { OUTPUT_SETTINGS, outputOf, printData } from "../output.ts";
import { safeLine } from "../text.ts";
import { WAIT_SETTINGS } from "../wait-settings.ts";

export const retry = command({
  summary: "Try events again that have ended",
  description:
    "Each becomes its own next revision: the same content, accepted now, with a full TTL. The log of what was tried before stays readable. One that has not ended is a conflict (exit code 5). With --wait the exit code is as of `send --wait`.",
  settings: { ...WAIT_SETTINGS, ...OUTPUT_SETTINGS, ...CLIENT_SETTINGS },
  positional: { name: "EVENT", describe: "ids of the events", min: 1, max: 1000, completes: "event" },
  examples: [
    "transporter retry deploy-42",
    "transporter retry deploy-42 --wait --wait-timeout 10m",
    "transporter retry $(transporter get events --state failed -o name | cut -d/ -f2)",
  ],
  run: async (call) => {
    const client = await connect(call);
    const { host, signal, values } = call;
    const { format } = outputOf(values);
    const wait = values.wait ?? host.out.isTerminal;
    return forEach(call, async (id) => {
      const retried = await client.retryEvent(id, { signal });
      if (wait) {
        call.note(retried.message);
        await followToEnd(call, client, id, { revision: retried.revision });
      } else if (format === "json" || format === "yaml") await printData(host.out, format, retried);
      else if (format === "name") host.out.write(`event/${safeLine(id)}\n`);
      else host.out.write(`event/${safeLine(id)} accepted as revision ${retried.revision}\n`);
    });
  },
});
