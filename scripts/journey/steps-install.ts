import { at, listAt, textAt } from "./json.ts";
import { logOf, type Journey } from "./journey.ts";
import { namespace } from "./manifests.ts";
import { contentsOf } from "./contents.ts";
import type { GroundCluster } from "./ground.ts";
import { AGENT_ID, ENROLMENT_SECRET, PORTS, SYSTEM, type Values } from "./values.ts";
import type { Step } from "./walk.ts";

const SECURITY_SECRET = "transporter-cp-security";
const IN_SYSTEM = ["--namespace", SYSTEM] as const;

export const loadImage: Step = {
  name: "the image is in the clusters",
  async run(journey) {
    await Promise.all(journey.clusters.map((cluster) => cluster.loadImage(journey.imageArchive)));
    const lists = await Promise.all(journey.clusters.map((cluster) => journey.json(cluster, ["get", "nodes"])));
    for (const nodes of lists) {
      const names = listAt(nodes, "items").flatMap((node) => listAt(node, "status", "images").flatMap((image) => listAt(image, "names")));
      // The kubelet tells of images now and then only: what it tells is a remark, not the proof. That is the pods below.
      if (names.includes(journey.image)) return `${journey.image}, and the kubelet says so`;
    }
    return journey.image;
  },
};

export const prepareNamespaces: Step = {
  name: "namespaces that take only restricted pods, and room for volumes",
  async run(journey) {
    const prepare = async (cluster: GroundCluster): Promise<void> => {
      await journey.apply(cluster, namespace(SYSTEM));
      // Controllers put these into every namespace; they are not the charts'.
      await journey.until(`the default account of ${SYSTEM} in ${cluster.name}`, async () => {
        const account = await journey.exists(cluster, "serviceaccount", "default", ...IN_SYSTEM);
        return account && (await journey.exists(cluster, "configmap", "kube-root-ca.crt", ...IN_SYSTEM));
      });
    };
    await Promise.all([...journey.clusters.map(prepare), journey.ground.makeVolumes?.()]);
    journey.before = new Map(
      await Promise.all(journey.clusters.map(async (cluster) => [cluster, await contentsOf(journey, cluster)] as const)),
    );
    return journey.clusters.map((cluster) => `${journey.before.get(cluster)?.size ?? 0} objects in ${cluster.name}`).join(", ");
  },
};

/** A step that installs the control plane with values of its own beside those that all need. */
export function installCp(over: Values = {}): Step {
  return {
    name: "helm install transporter-cp --wait",
    async run(journey) {
      await journey.install("cp", journey.cpValues(over));
      const pods = await podsOf(journey, "cp");
      const pod = pods[0];
      if (pods.length !== 1 || pod === undefined) throw new Error(`${pods.length} pods of the control plane instead of one`);
      const image = textAt(pod, "status", "containerStatuses", 0, "image");
      if (!image.endsWith(journey.image)) throw new Error(`the pod runs ${image} instead of ${journey.image}`);
      return `pod ${textAt(pod, "metadata", "name")} ready`;
    },
  };
}

export const login: Step = {
  name: "login from this machine with the token and the CA's hash of the Secret",
  async run(journey) {
    const { cp } = journey.ground;
    const secret = await journey.json(cp, ["get", "secret", SECURITY_SECRET, ...IN_SYSTEM]);
    journey.caHash = decoded(secret, "ca-hash");
    journey.adminToken = decoded(secret, "admin-token");
    if (!/^sha256:[0-9a-f]{64}$/.test(journey.caHash)) throw new Error(`no hash of the CA in Secret ${SECURITY_SECRET}`);
    if (journey.adminToken === "") throw new Error(`no admin token in Secret ${SECURITY_SECRET}`);
    const url = await apiUrl(journey, PORTS.websocket);

    const stranger = await journey.tryTransporter(
      ["login", "--cp-url", url, "--ca-hash", `sha256:${"0".repeat(64)}`, "--token-file", "-"],
      { input: journey.adminToken },
    );
    if (stranger.exitCode === 0) throw new Error("a login with the hash of another CA went through");

    await logIn(journey, url);
    const who = await journey.transporterJson(["whoami"]);
    const bare = await fetch(`${url}/v1/events`, { tls: { rejectUnauthorized: false } });
    if (bare.status !== 401) throw new Error(`without a token GET /v1/events answers ${bare.status}`);
    // As the notes of the chart tell whoever has logged in.
    await journey.kubectl(cp, ["patch", "secret", SECURITY_SECRET, ...IN_SYSTEM, "--type=json", `--patch=${REMOVE_TOKEN}`]);
    return `${textAt(who, "role") || "in"} at ${url}; 401 without a token; the token is gone from the Secret`;
  },
};

const REMOVE_TOKEN = JSON.stringify([{ op: "remove", path: "/data/admin-token" }]);

/** Also for when the API moved to another port. */
export async function logIn(journey: Journey, url: string): Promise<void> {
  const words = ["login", "--cp-url", url, "--ca-hash", journey.caHash, "--token-file", "-"];
  await journey.transporter(words, { input: journey.adminToken });
}

export async function apiUrl(journey: Journey, nodePort: number): Promise<string> {
  return `https://127.0.0.1:${await journey.ground.hostPort(nodePort)}`;
}

/** A step that enrols the agent with a token made for it. */
export function installAgent(over: Values = {}): Step {
  return {
    name: "token create, helm install transporter-agent --wait, enrolled and connected",
    async run(journey) {
      const { agent } = journey.ground;
      const token = (await journey.transporter(["token", "create", "--agent", AGENT_ID, "--ttl", "15m", "--output", "token"])).trim();
      const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: ENROLMENT_SECRET, namespace: SYSTEM }, stringData: { token } };
      await journey.apply(agent, JSON.stringify(secret));
      const startedMs = performance.now();
      await journey.install("agent", journey.agentValues(over));
      await connected(journey);
      const seen = `connected ${((performance.now() - startedMs) / 1000).toFixed(1)} s after the install began`;
      journey.agentKey = await agentKey(journey);
      // Good once; what is left of it is of no use to anybody, and was the journey's, not the chart's.
      await journey.kubectl(agent, ["delete", "secret", ENROLMENT_SECRET, ...IN_SYSTEM]);
      return seen;
    },
  };
}

/** Waits until the control plane says so, and gives what it says; a connection begun at `since` is the old one and does not count. */
export function connected(journey: Journey, since = "", timeoutMs = 60_000): Promise<unknown> {
  return journey.until(
    `the connection of ${AGENT_ID}`,
    async () => {
      const agent = await agentView(journey);
      return textAt(agent, "status") === "connected" && textAt(agent, "connected_at") !== since ? agent : undefined;
    },
    timeoutMs,
  );
}

/** The agent as the control plane has it; undefined where it knows of none. */
export async function agentView(journey: Journey): Promise<unknown> {
  const agents = await journey.transporterJson(["get", "agents"]);
  return listAt(agents, "items").find((one) => textAt(one, "id") === AGENT_ID);
}

/** What the agent keeps of its identity; another value means that it was enrolled anew. */
export async function agentKey(journey: Journey): Promise<string> {
  const secret = await journey.json(journey.ground.agent, ["get", "secret", "transporter-agent-identity", ...IN_SYSTEM]);
  const data = at(secret, "data");
  if (typeof data !== "object" || data === null || Object.keys(data).length === 0) throw new Error("the agent's identity Secret is empty");
  const entries = Object.entries(data).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return new Bun.CryptoHasher("sha256").update(JSON.stringify(entries)).digest("hex");
}

/** Pods of the control plane or of the agent that are not on their way out. */
export async function podsOf(journey: Journey, part: "cp" | "agent"): Promise<readonly unknown[]> {
  const cluster = part === "cp" ? journey.ground.cp : journey.ground.agent;
  const selector = `app.kubernetes.io/name=transporter-${part}`;
  const list = await journey.json(cluster, [
    "get",
    "pods",
    ...IN_SYSTEM,
    "--selector",
    selector,
    "--field-selector=status.phase!=Succeeded",
  ]);
  return listAt(list, "items").filter((pod) => textAt(pod, "metadata", "deletionTimestamp") === "");
}

/** The event must have failed with this code, which its log or its result names. */
export function mustHaveFailed(event: unknown, code: string): void {
  if (textAt(event, "state") !== "failed" || !JSON.stringify(event).includes(code))
    throw new Error(`the event should have failed with ${code}, and ended ${textAt(event, "state")}:\n${logOf(event)}`);
}

function decoded(secret: unknown, key: string): string {
  return Buffer.from(textAt(secret, "data", key), "base64").toString();
}
