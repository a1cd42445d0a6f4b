import type { Client } from "../../client/mod.ts";
import { text, toggle } from "../../config/mod.ts";
import { type AgentView, LIMITS } from "../../protocol/mod.ts";
import { type Call, command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { agentShape } from "../event-shape.ts";
import { EXIT } from "../exit.ts";
import { LiveTable } from "../live-table.ts";
import { OUTPUT_SETTINGS, outputOf, printList, printOne } from "../output.ts";

const SETTINGS = {
  cluster: text({ describe: "Only agents of this cluster", hint: "NAME", flagOnly: true }),
  watch: toggle(false, { short: "w", describe: "Go on with every change", flagOnly: true }),
  ...OUTPUT_SETTINGS,
  ...CLIENT_SETTINGS,
} as const;

const LOOK_AGAIN_MS = 2000;

export const getAgents = command({
  summary: "List agents, with their version, their clock's offset and when they were last heard of",
  settings: SETTINGS,
  positional: { name: "AGENT", describe: "only these agents, by id", min: 0, max: 100, completes: "agent" },
  examples: ["transporter get agents", "transporter get agents -o wide", "transporter get agent agent-1 -o yaml"],
  run: async (call) => {
    const client = await connect(call);
    const { host, values, ports, signal, positionals } = call;
    const output = outputOf(values);
    const shape = agentShape(ports.clock.now());
    if (values.watch) return follow(call, client);
    if (positionals.length > 0) {
      const found: AgentView[] = [];
      for (const id of positionals) found.push(await client.getAgent(id, { signal }));
      const [first] = found;
      if (found.length === 1 && first !== undefined) await printOne(host.out, output, shape, first);
      else await printList(host.out, output, shape, found);
      return EXIT.ok;
    }
    const agents = await listAll(client, values.cluster, signal);
    await printList(host.out, output, shape, agents);
    if (agents.length === 0 && (output.format === "table" || output.format === "wide")) call.note("No agents found.");
    return EXIT.ok;
  },
});

async function listAll(client: Client, cluster: string | undefined, signal: AbortSignal): Promise<AgentView[]> {
  const items: AgentView[] = [];
  let cursor: string | undefined;
  do {
    const page = await client.listAgents({ cluster, limit: LIMITS.pageMax, cursor }, { signal });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return items;
}

/** Looks again every two seconds and shows the agents that changed. */
async function follow(call: Call<typeof SETTINGS>, client: Client): Promise<number> {
  const { host, values, ports, signal, positionals } = call;
  const output = outputOf(values);
  const table = new LiveTable(host.out, output, agentShape(ports.clock.now()));
  const shown = new Map<string, string>();
  for (;;) {
    for (const agent of await listAll(client, values.cluster, signal)) {
      if (positionals.length > 0 && !positionals.includes(agent.id)) continue;
      // What grows by itself is no change.
      const { last_seen_at: _seen, clock_offset_ms: _offset, ...telling } = agent;
      const now = JSON.stringify(telling);
      if (shown.get(agent.id) === now) continue;
      shown.set(agent.id, now);
      await table.add(agent);
    }
    await ports.timers.sleep(LOOK_AGAIN_MS, signal);
  }
}
