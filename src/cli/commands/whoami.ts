import type { Whoami } from "../../protocol/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, type Shape, outputOf, printOne } from "../output.ts";
import { remaining, scopeText } from "../security-shapes.ts";

function whoamiShape(nowMs: number): Shape<Whoami> {
  return {
    name: (who) => `principal/${who.name}`,
    columns: [
      { head: "NAME", cell: (who) => who.name },
      { head: "ROLE", cell: (who) => who.role },
      { head: "SCOPE", cell: (who) => scopeText(who.scope) },
      { head: "BY", cell: (who) => who.via },
      { head: "ENDS IN", cell: (who) => (who.expires_at === undefined ? "" : remaining(who.expires_at, nowMs)) },
      { head: "TENANT", cell: (who) => who.tenant, wide: true },
    ],
  };
}

export const whoami = command({
  summary: "Show who you are to the control plane, and what you may",
  settings: { ...OUTPUT_SETTINGS, ...CLIENT_SETTINGS },
  examples: ["transporter whoami", "transporter whoami --context prod -o yaml"],
  run: async (call) => {
    const client = await connect(call);
    const who = await client.whoami({ signal: call.signal });
    await printOne(call.host.out, outputOf(call.values), whoamiShape(call.ports.clock.now()), who);
    if (!who.secured) call.note("This control plane asks nobody who they are: whoever reaches it may do everything.");
    return EXIT.ok;
  },
});

/** The same beside `auth can-i`, as kubectl has it. */
export const authWhoami = { ...whoami, examples: ["transporter auth whoami"] };
