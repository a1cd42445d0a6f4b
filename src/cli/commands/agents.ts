import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { forEach } from "../each.ts";
import { safeLine } from "../text.ts";

const positional = { name: "AGENT", describe: "ids of the agents", min: 1, max: 1000, completes: "agent" } as const;

export const pauseAgent = command({
  summary: "Stop handing events to agents",
  description: "Events for a paused agent are accepted and wait, until their TTL. What it has already been given goes on.",
  settings: CLIENT_SETTINGS,
  positional,
  examples: ["transporter pause agent agent-1"],
  run: async (call) => {
    const client = await connect(call);
    return forEach(call, async (id) => {
      const agent = await client.pauseAgent(id, { signal: call.signal });
      call.host.out.write(`agent/${safeLine(id)} paused (${agent.in_flight} in flight, ${agent.queued} queued)\n`);
    });
  },
});

export const resumeAgent = command({
  summary: "Hand events to paused agents again",
  settings: CLIENT_SETTINGS,
  positional,
  examples: ["transporter resume agent agent-1"],
  run: async (call) => {
    const client = await connect(call);
    return forEach(call, async (id) => {
      await client.resumeAgent(id, { signal: call.signal });
      call.host.out.write(`agent/${safeLine(id)} resumed\n`);
    });
  },
});

export const deleteAgent = command({
  summary: "Remove agents and cancel what waits for them",
  description: "An agent that connects again is registered anew. To keep it from getting work, pause it instead.",
  settings: CLIENT_SETTINGS,
  positional,
  examples: ["transporter delete agent agent-1"],
  run: async (call) => {
    const client = await connect(call);
    return forEach(call, async (id) => {
      const removed = await client.removeAgent(id, { signal: call.signal });
      call.host.out.write(
        `agent/${safeLine(id)} deleted${removed.cancelled_events === 0 ? "" : ` (${removed.cancelled_events} queued event${removed.cancelled_events === 1 ? "" : "s"} cancelled)`}\n`,
      );
    });
  },
});
