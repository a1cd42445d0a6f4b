import { textAt } from "./json.ts";
import type { GroundCluster } from "./ground.ts";
import { configMap } from "./manifests.ts";
import { QUEUE_NAMESPACE, type Queue } from "./queue.ts";
import { agentView, connected } from "./steps-install.ts";
import { AGENT_ID, SHOP } from "./values.ts";
import type { Step } from "./walk.ts";

/** Brings an image to where the pods of a cluster find it. */
export type BringImage = (image: string, cluster: GroundCluster) => Promise<void>;

/** A queue in front of the control plane, and an event that goes through it. */
export function queueSteps(queue: Queue, bring: BringImage): readonly Step[] {
  return [
    {
      name: `a queue in front: ${queue.kind} runs in the control plane's cluster, and the control plane takes from it`,
      async run(journey) {
        const { cp } = journey.ground;
        for (const image of queue.images) await bring(image, cp);
        await journey.apply(cp, queue.manifest);
        for (const name of queue.deployments)
          await journey.kubectl(cp, ["rollout", "status", `deployment/${name}`, "--namespace", QUEUE_NAMESPACE, "--timeout=180s"]);
        const since = textAt(await agentView(journey), "connected_at");
        await journey.upgradeCpKeeping(await journey.file("queue-values.json", JSON.stringify(queue.values)));
        await connected(journey, since);
        return queue.images.join(", ");
      },
    },
    {
      name: `an event put into ${queue.kind} from this machine arrives in the other cluster`,
      async run(journey) {
        const id = `by-${queue.kind}`;
        const path = await journey.file(`${id}.yaml`, configMap(id, SHOP, { by: queue.kind }));
        const flags = queue.sendFlags(await journey.ground.hostPort(queue.nodePort));
        await journey.transporter(["send", "k8s", "--agent", AGENT_ID, "--id", id, "-f", path, ...flags]);
        // Until a control plane has taken it, nobody knows of it.
        await journey.until(`event ${id}`, () => journey.event(id));
        await journey.completed(id);
        const made = await journey.json(journey.ground.agent, ["get", "configmap", id, "--namespace", SHOP]);
        if (textAt(made, "data", "by") !== queue.kind) throw new Error(`configmap ${id} says something else`);
        return `taken as ${textAt(await journey.event(id), "principal")}, configmap ${id} is there`;
      },
    },
  ];
}

/** For a journey that compares afterwards with what was there before. */
export const removeQueue: Step = {
  name: "the queue is taken away again",
  async run(journey) {
    await journey.kubectl(journey.ground.cp, ["delete", "namespace", QUEUE_NAMESPACE, "--timeout=120s"]);
    return "";
  },
};
