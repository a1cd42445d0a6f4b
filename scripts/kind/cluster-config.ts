import type { QueueKind } from "../journey/queue.ts";
import { PORTS, QUEUE_PORTS } from "../journey/values.ts";
import type { KindCommand } from "./options.ts";

export const CP_CLUSTER = "cp-cluster";
export const AGENT_CLUSTER = "agent-cluster";
/** The form with one cluster. */
export const ONE_CLUSTER = "transporter";

export interface ClusterPlan {
  readonly name: string;
  /** NodePorts that are ports of this machine too, under the same numbers. */
  readonly ports: readonly number[];
}

/** Which clusters a command makes. */
export function clusterPlans(command: Exclude<KindCommand, "down">, queue: QueueKind | undefined): readonly ClusterPlan[] {
  const own = [PORTS.websocket, PORTS.https, PORTS.agents];
  const memphis = [QUEUE_PORTS.memphisPage, QUEUE_PORTS.memphis];
  // People's scripts of 0.1 go to these ports of the one cluster, whether somebody listens there or not.
  if (command === "all") return [{ name: ONE_CLUSTER, ports: [...own, ...memphis, ...(queue === "nats" ? [QUEUE_PORTS.nats] : [])] }];
  const queues = { nats: [QUEUE_PORTS.nats], memphis };
  return [
    { name: CP_CLUSTER, ports: [...own, ...(queue === undefined ? [] : queues[queue])] },
    { name: AGENT_CLUSTER, ports: [] },
  ];
}

/** kind's own configuration. Only this machine reaches the ports. */
export function clusterConfig(plan: ClusterPlan): string {
  const mappings = plan.ports.map((port) =>
    ["      - protocol: TCP", `        containerPort: ${port}`, `        hostPort: ${port}`, "        listenAddress: 127.0.0.1"].join("\n"),
  );
  return [
    "kind: Cluster",
    "apiVersion: kind.x-k8s.io/v1alpha4",
    `name: ${plan.name}`,
    "nodes:",
    "  - role: control-plane",
    ...(mappings.length === 0 ? [] : ["    extraPortMappings:", ...mappings]),
    "",
  ].join("\n");
}
