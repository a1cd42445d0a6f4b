import { textAt } from "./json.ts";
import { configMap } from "./manifests.ts";
import { QUEUE_NAMESPACE } from "./queue.ts";
import { AGENT_ID, SHOP } from "./values.ts";
import type { Step } from "./walk.ts";

const NONE = "no queue was asked for";

/** Before the control plane comes, which then takes from it from its first start on. */
export const queueReady: Step = {
  name: "a queue runs in the control plane's cluster",
  skip: ({ queue }) => (queue === undefined ? NONE : undefined),
  async run(journey) {
    const {
      queue,
      ground: { cp },
    } = journey;
    if (queue === undefined) throw new Error(NONE);
    for (const image of queue.images) await queue.bring(image, cp);
    await journey.apply(cp, queue.manifest);
    for (const name of queue.deployments)
      await journey.kubectl(cp, ["rollout", "status", `deployment/${name}`, "--namespace", QUEUE_NAMESPACE, "--timeout=180s"]);
    return queue.images.join(", ");
  },
};

export const byQueue: Step = {
  name: "an event put into the queue from this machine arrives in the other cluster",
  skip: ({ queue }) => (queue === undefined ? NONE : undefined),
  async run(journey) {
    const { queue, ground } = journey;
    if (queue === undefined) throw new Error(NONE);
    const id = `by-${queue.kind}`;
    const path = await journey.file(`${id}.yaml`, configMap(id, SHOP, { by: queue.kind }));
    const flags = queue.sendFlags(await ground.hostPort(queue.nodePort));
    await journey.transporter(["send", "k8s", "--agent", AGENT_ID, "--id", id, "-f", path, ...flags]);
    // Until a control plane has taken it, nobody knows of it.
    await journey.until(`event ${id}`, () => journey.event(id));
    const event = await journey.completed(id);
    const made = await journey.json(ground.agent, ["get", "configmap", id, "--namespace", SHOP]);
    if (textAt(made, "data", "by") !== queue.kind) throw new Error(`configmap ${id} says something else`);
    return `taken as ${textAt(event, "principal")}, configmap ${id} is there`;
  },
};
