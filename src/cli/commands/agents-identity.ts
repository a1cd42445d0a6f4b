import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { forEach } from "../each.ts";
import { safeLine } from "../text.ts";

const enrolments = {
  name: "ENROLMENT",
  describe: "ids of requests for a certificate, as `transporter get enrolments` lists them",
  min: 1,
  max: 1000,
} as const;

export const approveEnrolment = command({
  summary: "Let agents in that wait for approval",
  settings: CLIENT_SETTINGS,
  positional: enrolments,
  examples: ["transporter agents approve 2fE0pLxQ7aNw"],
  run: async (call) => {
    const client = await connect(call);
    return forEach(call, async (id) => {
      const { agent_id: agentId } = await client.decideEnrolment(id, true, { signal: call.signal });
      call.host.out.write(`enrolment/${safeLine(id)} approved: agent ${safeLine(agentId)} gets its certificate when it asks next\n`);
    });
  },
});

export const denyEnrolment = command({
  summary: "Refuse agents that wait for approval",
  settings: CLIENT_SETTINGS,
  positional: enrolments,
  examples: ["transporter agents deny 2fE0pLxQ7aNw"],
  run: async (call) => {
    const client = await connect(call);
    return forEach(call, async (id) => {
      const { agent_id: agentId } = await client.decideEnrolment(id, false, { signal: call.signal });
      call.host.out.write(`enrolment/${safeLine(id)} denied (agent ${safeLine(agentId)})\n`);
    });
  },
});

export const revokeIdentity = command({
  summary: "End the identity of agents, at once",
  description:
    "Every certificate of the agent counts no more, on all control planes and on its open connection. Only a fresh token for exactly its id lets it in again.",
  settings: CLIENT_SETTINGS,
  positional: { name: "AGENT", describe: "ids of the agents", min: 1, max: 1000, completes: "agent" },
  examples: ["transporter agents revoke agent-1"],
  run: async (call) => {
    const client = await connect(call);
    return forEach(call, async (id) => {
      await client.revokeIdentity(id, { signal: call.signal });
      call.host.out.write(`agent/${safeLine(id)} revoked\n`);
    });
  },
});
