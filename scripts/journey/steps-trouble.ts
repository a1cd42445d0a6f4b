import { listAt, textAt } from "./json.ts";
import { seconds } from "../run.ts";
import type { Journey } from "./journey.ts";
import { configMap, workload } from "./manifests.ts";
import { agentView, connected, podsOf } from "./steps-install.ts";
import { AGENT_ID, SHOP, SYSTEM } from "./values.ts";
import type { Step } from "./walk.ts";

const IN_SYSTEM = ["--namespace", SYSTEM] as const;
const WHILE_CUT = ["cut-1", "cut-2", "cut-3", "cut-4", "cut-5"] as const;

export const cutLink: Step = {
  name: "the way between the clusters is cut in the middle of work and healed: everything arrives, once",
  skip: ({ ground }) => (ground.link === undefined ? "nothing to cut within one cluster" : undefined),
  async run(journey) {
    const { link } = journey.ground;
    if (link === undefined) throw new Error("no link");
    // Work that takes a while: another image pull policy is not needed, the pod's start is long enough to be in the middle of.
    await journey.send("interrupted", workload("interrupted", journey.image));
    await journey.until("the start of the work", async () => textAt(await journey.event("interrupted"), "state") === "in_progress");
    const before = textAt(await agentView(journey), "connected_at");
    await link.cut();
    try {
      for (const id of WHILE_CUT) await journey.send(id, configMap(id, SHOP, { id }));
      await journey.until("the loss of the connection", async () => textAt(await agentView(journey), "status") !== "connected");
      for (const id of WHILE_CUT) {
        const state = textAt(await journey.event(id), "state");
        if (!["queued", "assigned"].includes(state)) throw new Error(`event ${id} is ${state} while there is no way to the agent`);
      }
    } finally {
      await link.heal();
    }
    const healedMs = performance.now();
    await connected(journey, before);
    const back = seconds(healedMs);
    for (const id of ["interrupted", ...WHILE_CUT]) await once(journey, id);
    for (const id of WHILE_CUT) {
      const made = await journey.json(journey.ground.agent, ["get", "configmap", id, "--namespace", SHOP]);
      if (textAt(made, "data", "id") !== id) throw new Error(`configmap ${id} says something else`);
    }
    return `connected ${back} after the healing, all ${WHILE_CUT.length + 1} done ${seconds(healedMs)} after it`;
  },
};

/** Completed, and told so one time. */
async function once(journey: Journey, id: string): Promise<void> {
  const event = await journey.completed(id);
  const ends = listAt(event, "log").filter((entry) => textAt(entry, "state") === "completed");
  if (ends.length !== 1) throw new Error(`event ${id} completed ${ends.length} times`);
}

export const killCp: Step = {
  name: "the control plane's pod is killed: its events, tokens and agents are still there",
  async run(journey) {
    const { cp } = journey.ground;
    await journey.transporter([
      "send",
      "k8s",
      "--agent",
      "nobody-yet",
      "--id",
      "waiting",
      "-f",
      await journey.file("w.yaml", configMap("w", SHOP, {})),
    ]);
    const idsBefore = await eventIds(journey);
    const [pod] = await podsOf(journey, "cp");
    const name = textAt(pod, "metadata", "name");
    const since = textAt(await agentView(journey), "connected_at");
    const startedMs = performance.now();
    await journey.kubectl(cp, ["delete", "pod", name, ...IN_SYSTEM, "--force", "--grace-period=0", "--wait=false"]);
    const next = await journey.until("another pod of the control plane", async () => {
      const found = (await podsOf(journey, "cp")).find((one) => textAt(one, "metadata", "uid") !== textAt(pod, "metadata", "uid"));
      const conditions = listAt(found, "status", "conditions");
      return conditions.some((one) => textAt(one, "type") === "Ready" && textAt(one, "status") === "True") ? found : undefined;
    });
    const ready = seconds(startedMs);
    await connected(journey, since);
    const reconnected = seconds(startedMs);
    const idsAfter = await eventIds(journey);
    const lost = idsBefore.filter((id) => !idsAfter.includes(id));
    if (lost.length > 0) throw new Error(`lost: ${lost.join(", ")}`);
    const waiting = textAt(await journey.event("waiting"), "state");
    if (waiting !== "queued") throw new Error(`the event that waited is ${waiting}`);
    await journey.transporter(["cancel", "waiting"]);
    await journey.send("after-kill", configMap("after-kill", SHOP, { a: "1" }));
    await journey.completed("after-kill");
    return `${textAt(next, "metadata", "name")} ready after ${ready}, ${AGENT_ID} back after ${reconnected}, ${idsAfter.length} events kept`;
  },
};

async function eventIds(journey: Journey): Promise<string[]> {
  const events = await journey.transporterJson(["get", "events", "--all"]);
  return listAt(events, "items").map((event) => textAt(event, "id"));
}
