import { LIMITS, type IdentityView } from "../../protocol/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, outputOf, printList, printOne } from "../output.ts";
import { enrolmentShape, identityShape } from "../security-shapes.ts";

const SETTINGS = { ...OUTPUT_SETTINGS, ...CLIENT_SETTINGS } as const;

export const getEnrolments = command({
  summary: "List agents that ask for a certificate, and what was decided",
  description:
    "Where the control plane runs with --approve-enrolments, each waits for `transporter agents approve ID` or `deny ID`. Compare KEY with what the agent logs.",
  settings: SETTINGS,
  examples: ["transporter get enrolments", "transporter get enrolments -o wide"],
  run: async (call) => {
    const client = await connect(call);
    const { items } = await client.listEnrolments({ signal: call.signal });
    const output = outputOf(call.values);
    await printList(call.host.out, output, enrolmentShape(call.ports.clock.now()), items);
    if (items.length === 0 && (output.format === "table" || output.format === "wide")) call.note("No agent asks for a certificate.");
    return EXIT.ok;
  },
});

export const getIdentities = command({
  summary: "List agents that have an identity, with their certificates",
  settings: SETTINGS,
  positional: { name: "AGENT", describe: "only this agent, by id", min: 0, max: 1, completes: "agent" },
  examples: ["transporter get identities", "transporter get identity agent-1 -o yaml"],
  run: async (call) => {
    const { signal, host, ports, positionals } = call;
    const client = await connect(call);
    const output = outputOf(call.values);
    const shape = identityShape(ports.clock.now());
    const [agentId] = positionals;
    if (agentId !== undefined) {
      await printOne(host.out, output, shape, await client.getIdentity(agentId, { signal }));
      return EXIT.ok;
    }
    const items: IdentityView[] = [];
    let cursor: string | undefined;
    do {
      const page = await client.listIdentities({ limit: LIMITS.pageMax, cursor }, { signal });
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor !== undefined);
    await printList(host.out, output, shape, items);
    if (items.length === 0 && (output.format === "table" || output.format === "wide"))
      call.note("No agent has enrolled; `transporter token create --agent ID` makes a token for one.");
    return EXIT.ok;
  },
});
