import { listAt, textAt } from "./json.ts";
import { seconds } from "../run.ts";
import type { Journey } from "./journey.ts";
import { configMap, workload } from "./manifests.ts";
import { agentView, connected, podsOf } from "./steps-install.ts";
import { SHOP, SYSTEM } from "./values.ts";
import type { Step } from "./walk.ts";

const IN_SYSTEM = ["--namespace", SYSTEM] as const;
const WHILE_CUT = ["cut-1", "cut-2", "cut-3", "cut-4", "cut-5"] as const;

export const cutAndKill: Step = {
  name: "the way between the clusters is cut in the middle of work, the control plane killed meanwhile, the way healed: everything arrives, once",
  skip: ({ ground }) => (ground.link === undefined ? "nothing to cut within one cluster" : undefined),
  async run(journey) {
    const { link } = journey.ground;
    if (link === undefined) throw new Error("no link");
    // A pod's start takes long enough to be in the middle of.
    await journey.send("interrupted", workload("interrupted", journey.image));
    await journey.until("the start of the work", async () => textAt(await journey.event("interrupted"), "state") === "in_progress");
    const before = textAt(await agentView(journey), "connected_at");
    let killed: string;
    await link.cut();
    try {
      for (const id of WHILE_CUT) await journey.send(id, configMap(id, SHOP, { id }));
      await journey.until("the loss of the connection", async () => textAt(await agentView(journey), "status") !== "connected");
      killed = await killedAndBack(journey);
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
    return `${killed}; connected ${back} after the healing, all ${WHILE_CUT.length + 1} done ${seconds(healedMs)} after it`;
  },
};

/** Completed, and told so one time. */
async function once(journey: Journey, id: string): Promise<void> {
  const event = await journey.completed(id);
  const ends = listAt(event, "log").filter((entry) => textAt(entry, "state") === "completed");
  if (ends.length !== 1) throw new Error(`event ${id} completed ${ends.length} times`);
}

/** Kills the pod without a word of warning, and looks at what its successor finds on the volume. */
async function killedAndBack(journey: Journey): Promise<string> {
  const { cp } = journey.ground;
  const before = await events(journey);
  const [pod] = await podsOf(journey, "cp");
  const startedMs = performance.now();
  const name = textAt(pod, "metadata", "name");
  await journey.kubectl(cp, ["delete", "pod", name, ...IN_SYSTEM, "--force", "--grace-period=0", "--wait=false"]);
  await journey.until("another pod of the control plane", async () => {
    const next = (await podsOf(journey, "cp")).find((one) => textAt(one, "metadata", "uid") !== textAt(pod, "metadata", "uid"));
    const conditions = listAt(next, "status", "conditions");
    return conditions.some((one) => textAt(one, "type") === "Ready" && textAt(one, "status") === "True");
  });
  const ready = seconds(startedMs);
  const after = await journey.until("an answer of the new pod", () => events(journey));
  for (const [id, sum] of before) if (after.get(id) !== sum) throw new Error(`event ${id} is not what it was: ${after.get(id) ?? "gone"}`);
  return `killed, ready again after ${ready} with all ${before.size} events`;
}

/** Of each event what does not change while nobody works on it. */
async function events(journey: Journey): Promise<ReadonlyMap<string, string>> {
  const list = listAt(await journey.transporterJson(["get", "events", "--all"]), "items");
  return new Map(list.map((event) => [textAt(event, "id"), `${textAt(event, "payload_sha256")} ${textAt(event, "received_at")}`]));
}
