import type { Replicas } from "../../protocol/mod.ts";
import { age } from "../age.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, type Shape, outputOf, printList } from "../output.ts";

type Replica = Replicas["items"][number];

function replicaShape(nowMs: number): Shape<Replica> {
  return {
    name: (replica) => `replica/${replica.id}`,
    columns: [
      { head: "ID", cell: (replica) => replica.id },
      { head: "ADDRESS", cell: (replica) => replica.address },
      { head: "VERSION", cell: (replica) => replica.version },
      { head: "AGENTS", cell: (replica) => String(replica.agents) },
      { head: "AGE", cell: (replica) => age(replica.started_at, nowMs) },
    ],
  };
}

export const getReplicas = command({
  summary: "List the control planes that share a store, with the agents that each holds",
  description:
    "Each is listed as long as it keeps its lease, some seconds beyond its end. A control plane whose store is not shared is alone.",
  settings: { ...OUTPUT_SETTINGS, ...CLIENT_SETTINGS },
  examples: ["transporter get replicas", "transporter get replicas -o json"],
  run: async (call) => {
    const client = await connect(call);
    const { items } = await client.listReplicas({ signal: call.signal });
    await printList(call.host.out, outputOf(call.values), replicaShape(call.ports.clock.now()), items);
    return EXIT.ok;
  },
});
