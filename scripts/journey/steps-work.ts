import { at, listAt, textAt } from "./json.ts";
import { logOf, type Journey } from "./journey.ts";
import { configMap, namespace, workload } from "./manifests.ts";
import { agentKey, agentView, connected, mustHaveFailed, podsOf } from "./steps-install.ts";
import { PORTS, SHOP, SYSTEM, type Values } from "./values.ts";
import type { Step } from "./walk.ts";

const ACCOUNT = `system:serviceaccount:${SYSTEM}:transporter-agent`;

/** Changes the agent's release; it is the same agent afterwards, and connected. */
function upgradeAgent(journey: Journey, over: Values): Promise<void> {
  return changedAgent(journey, async () => {
    await journey.install("agent", journey.agentValues(over));
  });
}

/** Rights alone change without another pod. Where one comes, its own connection is waited for: the old one's may be open for a moment more. */
async function changedAgent(journey: Journey, change: () => Promise<void>): Promise<void> {
  const since = textAt(await agentView(journey), "connected_at");
  const before = await agentPod(journey);
  await change();
  await connected(journey, (await agentPod(journey)) === before ? "" : since);
  if ((await agentKey(journey)) !== journey.agentKey) throw new Error("the agent enrolled anew instead of keeping its identity");
}

async function agentPod(journey: Journey): Promise<string> {
  return textAt((await podsOf(journey, "agent"))[0], "metadata", "uid");
}

async function mayNot(journey: Journey, ...words: readonly string[]): Promise<void> {
  const answer = await journey.ground.agent.kubectl(["auth", "can-i", ...words, `--as=${ACCOUNT}`]);
  if (answer.stdout.trim() !== "no") throw new Error(`the agent's account may ${words.join(" ")}: ${answer.stdout}${answer.stderr}`);
}

async function may(journey: Journey, ...words: readonly string[]): Promise<void> {
  const answer = await journey.ground.agent.kubectl(["auth", "can-i", ...words, `--as=${ACCOUNT}`]);
  if (answer.stdout.trim() !== "yes") throw new Error(`the agent's account may not ${words.join(" ")}: ${answer.stdout}${answer.stderr}`);
}

async function mustBeAbsent(journey: Journey, ...object: readonly string[]): Promise<void> {
  if (await journey.exists(journey.ground.agent, ...object)) throw new Error(`${object.join(" ")} is there`);
}

export const readOnly: Step = {
  name: "as installed the agent only looks: what would be done is told, and nothing is made",
  async run(journey) {
    const { agent } = journey.ground;
    await journey.apply(agent, namespace(SHOP));
    await journey.send("looked-at", configMap("looked-at", SHOP, { a: "1" }));
    const event = await journey.completed("looked-at");
    const status = textAt(event, "result", "resource_status", 0, "status");
    if (!["would_create", "unknown"].includes(status)) throw new Error(`the object is told as ${status}:\n${logOf(event)}`);
    await mustBeAbsent(journey, "configmap", "looked-at", "--namespace", SHOP);
    await mayNot(journey, "create", "configmaps", "--namespace", SHOP);
    await mayNot(journey, "get", "secrets", "--namespace", SHOP);
    return `told as ${status}, not there`;
  },
};

export const forbidden: Step = {
  name: "without the right to write, the API server refuses: the event fails with FORBIDDEN",
  async run(journey) {
    // The port that stays the API's own whatever becomes of 0.1's, as the notes of the chart advise.
    await upgradeAgent(journey, { agent: { readOnly: false, ...apiOf(journey) }, rbac: { preset: "readOnly" } });
    await journey.send("refused", configMap("refused", SHOP, { a: "1" }));
    mustHaveFailed(await journey.ended("refused"), "FORBIDDEN");
    await mustBeAbsent(journey, "configmap", "refused", "--namespace", SHOP);
    return "not there, identity kept over helm upgrade";
  },
};

function apiOf(journey: Journey): Values {
  return { cpURL: `https://${journey.ground.cp.nodeAddress}:${PORTS.https}` };
}

export const namespaced: Step = {
  name: "with the preset namespaced it works in that namespace and in no other",
  async run(journey) {
    const { agent } = journey.ground;
    await upgradeAgent(journey, { agent: apiOf(journey), rbac: { preset: "namespaced", namespaces: [SHOP] } });
    await may(journey, "create", "deployments.apps", "--namespace", SHOP);
    await mayNot(journey, "create", "deployments.apps", "--namespace", "default");
    await mayNot(journey, "create", "clusterroles.rbac.authorization.k8s.io");

    await journey.send("first", configMap("first", SHOP, { greeting: "from the other cluster" }));
    await journey.completed("first");
    const made = await journey.json(agent, ["get", "configmap", "first", "--namespace", SHOP, "--show-managed-fields"]);
    if (textAt(made, "data", "greeting") !== "from the other cluster")
      throw new Error(`the object is another one: ${JSON.stringify(made)}`);
    if (textAt(made, "metadata", "managedFields", 0, "manager") !== "transporter") throw new Error("somebody else made the object");

    await journey.send("elsewhere", configMap("elsewhere", "default", { a: "1" }));
    mustHaveFailed(await journey.ended("elsewhere"), "FORBIDDEN");
    await mustBeAbsent(journey, "configmap", "elsewhere", "--namespace", "default");
    return "made in one, refused in the other";
  },
};

export const running: Step = {
  name: "a Deployment sent from here runs there, and answers",
  async run(journey) {
    const { agent } = journey.ground;
    await journey.send("workload", workload("shopfront", journey.image));
    const event = await journey.completed("workload", 90_000);
    const deployment = await journey.json(agent, ["get", "deployment", "shopfront", "--namespace", SHOP]);
    if (textAt(deployment, "status", "readyReplicas") !== "1") throw new Error(`not ready: ${JSON.stringify(at(deployment, "status"))}`);
    const pods = await journey.json(agent, ["get", "pods", "--namespace", SHOP, "--selector=app=shopfront"]);
    const started = textAt(pods, "items", 0, "status", "containerStatuses", 0, "state", "running", "startedAt");
    if (started === "") throw new Error("no container of it runs");
    const health = await journey.kubectl(agent, ["get", "--raw", `/api/v1/namespaces/${SHOP}/services/shopfront:http/proxy/livez`]);
    const phases = listAt(event, "log").map((entry) => textAt(entry, "phase"));
    for (const phase of ["received", "validating", "applying", "verifying", "completed"])
      if (!phases.includes(phase)) throw new Error(`the phase ${phase} is missing:\n${logOf(event)}`);
    return `its Service says ${JSON.stringify(health.trim().slice(0, 40))}`;
  },
};

export const clusterAdmin: Step = {
  name: "with clusterAdmin it makes a namespace; after helm rollback it may not any more",
  async run(journey) {
    const { agent } = journey.ground;
    await upgradeAgent(journey, { agent: apiOf(journey), rbac: { preset: "clusterAdmin" } });
    await journey.send("wide", `${namespace("shop-2")}---\n${configMap("wide", "shop-2", { a: "1" })}`);
    await journey.completed("wide");
    if (!(await journey.exists(agent, "configmap", "wide", "--namespace", "shop-2"))) throw new Error("the object is not there");

    await changedAgent(journey, async () => {
      await journey.helm(agent, ["rollback", "transporter-agent", "--namespace", SYSTEM, "--wait", "--timeout", "120s"]);
    });
    await mayNot(journey, "create", "namespaces");
    await may(journey, "create", "deployments.apps", "--namespace", SHOP);
    await journey.send("too-wide", namespace("shop-3"));
    mustHaveFailed(await journey.ended("too-wide"), "FORBIDDEN");
    await mustBeAbsent(journey, "namespace", "shop-3");
    await journey.kubectl(agent, ["delete", "namespace", "shop-2", "--wait=false"]);
    return "identity kept";
  },
};

/** A first event for the clusters that stay up: the agent may do something there. */
export const firstEvent: Step = {
  name: "an event sent from here makes an object there",
  async run(journey) {
    const { agent } = journey.ground;
    await journey.send("hello", `${namespace(SHOP)}---\n${configMap("hello", SHOP, { greeting: "from this machine" })}`);
    await journey.completed("hello");
    const made = await journey.json(agent, ["get", "configmap", "hello", "--namespace", SHOP]);
    return `configmap hello says ${JSON.stringify(textAt(made, "data", "greeting"))}`;
  },
};
