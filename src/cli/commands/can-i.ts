import { choice, text } from "../../config/mod.ts";
import { EventTypeSchema } from "../../protocol/mod.ts";
import { ACTIONS } from "../../security/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, outputOf, printData } from "../output.ts";
import { safeLine } from "../text.ts";

export const canI = command({
  summary: "Ask whether you may do something; the exit code is 0 for yes and 1 for no",
  settings: {
    agent: text({ describe: "To this agent; without it, to any at all", hint: "ID", flagOnly: true, completes: "agent" }),
    type: choice(EventTypeSchema.options, { describe: "With events of this type", flagOnly: true }),
    ...OUTPUT_SETTINGS,
    ...CLIENT_SETTINGS,
  },
  positional: { name: "ACTION", describe: "what is to be done", min: 1, max: 1, choices: Object.keys(ACTIONS) },
  examples: ["transporter can-i events:create --agent shop-17", "transporter can-i tokens:manage --context prod"],
  run: async (call) => {
    const { values, positionals, host } = call;
    const client = await connect(call);
    const { allowed, reason } = await client.canI(
      { action: positionals[0] ?? "", agent: values.agent, type: values.type },
      { signal: call.signal },
    );
    const { format } = outputOf(values);
    if (format === "json" || format === "yaml") await printData(host.out, format, { allowed, reason });
    else host.out.write(`${allowed ? "yes" : `no: ${safeLine(reason)}`}\n`);
    return allowed ? EXIT.ok : EXIT.failed;
  },
});

/** The same where kubectl has it. */
export const authCanI = { ...canI, examples: ["transporter auth can-i events:create --agent shop-17"] };
