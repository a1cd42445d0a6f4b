import { listAt, textAt } from "./json.ts";
import { seconds } from "../run.ts";
import { added, contentsOf } from "./contents.ts";
import type { GroundCluster } from "./ground.ts";
import type { Journey } from "./journey.ts";
import { dialLegacyAgent } from "./legacy-agent.ts";
import { configMap } from "./manifests.ts";
import { agentKey, agentView, apiUrl, connected, logIn } from "./steps-install.ts";
import { QUEUE_NAMESPACE } from "./queue.ts";
import { AGENT_ID, LEGACY_AGENT_ID, merged, PORTS, SHOP, SYSTEM, TEST_TOKEN_SECRET, type Values } from "./values.ts";
import type { Step } from "./walk.ts";

const IN_SYSTEM = ["--namespace", SYSTEM] as const;

/** In the journey silence counts sooner than by default: a cut link must be seen in seconds. */
export const CP_OVER: Values = {
  cp: { heartbeatTimeout: "6s" },
  tests: { agent: AGENT_ID, namespace: SHOP, token: { existingSecret: TEST_TOKEN_SECRET } },
};

export const helmTest: Step = {
  name: "helm test of both sends an event across",
  async run(journey) {
    const { cp, agent } = journey.ground;
    const words = [
      "token",
      "create",
      "--role",
      "producer",
      "--agents",
      AGENT_ID,
      "--name",
      "helm-test",
      "--ttl",
      "1h",
      "--output",
      "token",
    ];
    const token = (await journey.transporter(words)).trim();
    const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: TEST_TOKEN_SECRET, namespace: SYSTEM }, stringData: { token } };
    for (const cluster of journey.clusters) await journey.apply(cluster, JSON.stringify(secret));

    const before = await completedEvents(journey);
    const [tookCp, tookAgent] = await Promise.all([
      mustSucceed(journey, cp, "transporter-cp"),
      mustSucceed(journey, agent, "transporter-agent"),
    ]);
    const made = await journey.json(agent, ["get", "configmap", "transporter-helm-test", "--namespace", SHOP]);
    if (!textAt(made, "data", "release").includes("transporter-cp"))
      throw new Error(`what the test sent is not there: ${JSON.stringify(made)}`);
    const more = (await completedEvents(journey)) - before;
    if (more !== 2) throw new Error(`${more} more events have completed instead of 2`);
    for (const cluster of journey.clusters) await journey.kubectl(cluster, ["delete", "secret", TEST_TOKEN_SECRET, ...IN_SYSTEM]);
    return `transporter-cp ${tookCp}, transporter-agent ${tookAgent}; both events completed, configmap transporter-helm-test is there`;
  },
};

/** Gives how long it took. */
async function mustSucceed(journey: Journey, cluster: GroundCluster, release: string): Promise<string> {
  const startedMs = performance.now();
  const said = await journey.helm(cluster, ["test", release, ...IN_SYSTEM, "--timeout", "120s"]);
  if (!/Phase:\s+Succeeded/.test(said) || /Phase:\s+Failed/.test(said)) throw new Error(said);
  return seconds(startedMs);
}

async function completedEvents(journey: Journey): Promise<number> {
  const events = await journey.transporterJson(["get", "events", "--agent", AGENT_ID, "--state", "completed", "--all"]);
  return listAt(events, "items").length;
}

/** Of 0.1's chart, each with a meaning that it must keep. */
const VALUES_0_1: Values = {
  replicaCount: 1,
  service: { type: "NodePort", websocketPort: 8080, nodePort: PORTS.websocket },
  cp: {
    wsAddr: "0.0.0.0",
    wsPort: 8080,
    heartbeatTimeout: "6s",
    eventRetryMax: 3,
    memphis: { enabled: false, host: "memphis:6666", username: "root", password: "", station: "transporter-events" },
  },
  redis: { enabled: false },
};

export const legacy: Step = {
  name: "helm upgrade with 0.1's values and its listener: an agent of 0.1 gets its event through NodePort 30080",
  async run(journey) {
    const since = textAt(await agentView(journey), "connected_at");
    await journey.install(
      "cp",
      journey.cpValues(merged(merged(CP_OVER, VALUES_0_1), { legacy: { enabled: true, agents: [LEGACY_AGENT_ID] } })),
    );
    // The port of 0.1 speaks 0.1 now; people and enrolled agents have ports of their own.
    await logIn(journey, await apiUrl(journey, PORTS.https));
    await connected(journey, since);

    const port = await journey.ground.hostPort(PORTS.websocket);
    using old = await dialLegacyAgent(`ws://127.0.0.1:${port}/ws`, LEGACY_AGENT_ID);
    const body = {
      id: "of-0-1",
      type: "k8s_resource",
      target_agent: LEGACY_AGENT_ID,
      ttl: 3_600_000_000_000,
      payload: { manifests: [configMap("of-0-1", "default", { a: "1" })] },
    };
    const answer = await fetch(`http://127.0.0.1:${port}/events`, { method: "POST", body: JSON.stringify(body) });
    if (answer.status !== 202) throw new Error(`POST /events of 0.1 answers ${answer.status}: ${await answer.text()}`);
    await journey.until("the event at the agent of 0.1", async () => old.frames.some((frame) => textAt(frame, "event", "id") === "of-0-1"));
    old.report("of-0-1");
    await journey.completed("of-0-1");

    // An id that has enrolled cannot come that way.
    using thief = await dialLegacyAgent(`ws://127.0.0.1:${port}/ws`, AGENT_ID);
    await journey.until("the refusal of an enrolled id", async () => JSON.stringify(thief.frames).includes("error"));
    await journey.send("after-0-1", configMap("after-0-1", SHOP, { a: "1" }));
    await journey.completed("after-0-1");
    return `${LEGACY_AGENT_ID} over HTTP at ${PORTS.websocket}, ${AGENT_ID} over TLS at ${PORTS.agents}, people at ${PORTS.https}`;
  },
};

export const rollBack: Step = {
  name: "helm rollback of the control plane: 0.1's listener is closed again, and nothing is lost",
  async run(journey) {
    const { cp } = journey.ground;
    const since = textAt(await agentView(journey), "connected_at");
    await journey.helm(cp, ["rollback", "transporter-cp", ...IN_SYSTEM, "--wait", "--timeout", "120s"]);
    // The old port is the API's again.
    await logIn(journey, await apiUrl(journey, PORTS.websocket));
    await connected(journey, since);
    const port = await journey.ground.hostPort(PORTS.websocket);
    const plain = await fetch(`http://127.0.0.1:${port}/events`, { method: "POST", body: "{}" }).then(
      (answer) => answer.status,
      () => "closed" as const,
    );
    if (plain === 202 || plain === 400) throw new Error(`0.1's listener still answers: ${plain}`);
    if ((await agentKey(journey)) !== journey.agentKey) throw new Error("the agent enrolled anew");
    if (textAt(await journey.event("of-0-1"), "state") !== "completed") throw new Error("the event of 0.1 is gone");
    await journey.send("after-rollback", configMap("after-rollback", SHOP, { a: "1" }));
    await journey.completed("after-rollback");
    const history = JSON.parse(await journey.helm(cp, ["history", "transporter-cp", ...IN_SYSTEM, "--output", "json"])) as unknown;
    return `revision ${listAt({ history }, "history").length}; ${AGENT_ID} kept its identity`;
  },
};

export const uninstall: Step = {
  name: "helm uninstall of both leaves nothing behind",
  async run(journey) {
    const { cp, agent } = journey.ground;
    await journey.helm(agent, ["uninstall", "transporter-agent", ...IN_SYSTEM, "--wait", "--timeout", "120s"]);
    const remove = (cluster: GroundCluster, namespace: string): Promise<string> =>
      journey.kubectl(cluster, ["delete", "namespace", namespace, "--ignore-not-found", "--timeout=120s"]);
    await Promise.all([
      journey.helm(cp, ["uninstall", "transporter-cp", ...IN_SYSTEM, "--wait", "--timeout", "120s"]),
      // What the events made is the events', not the charts'.
      ...[SHOP, "shop-2"].map((namespace) => remove(agent, namespace)),
      ...(journey.queue === undefined ? [] : [remove(cp, QUEUE_NAMESPACE)]),
    ]);
    const counts = await Promise.all(journey.clusters.map((cluster) => asBefore(journey, cluster)));
    return counts.join(", ");
  },
};

async function asBefore(journey: Journey, cluster: GroundCluster): Promise<string> {
  const before = journey.before.get(cluster) ?? new Set<string>();
  let left: readonly string[] = [];
  const none = async (): Promise<boolean> => {
    left = added(before, await contentsOf(journey, cluster));
    return left.length === 0;
  };
  await journey.until(`an end without remains in ${cluster.name}`, none).catch((error: unknown) => {
    throw new Error(`left in ${cluster.name}: ${left.join(", ")}`, { cause: error });
  });
  return `${before.size} objects in ${cluster.name} as before`;
}
