import { describe, expect } from "bun:test";
import { type Cluster, kubeTest, startKube, uniqueName } from "../support/kube.ts";
import { eventually } from "../support/eventually.ts";
import { clientOf, configMap, parsed, walk } from "./walk.ts";

const FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1";

async function must(kube: Cluster, method: string, path: string, body?: unknown): Promise<void> {
  const answer = await kube.request(method, path, body);
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
}

/** Everything that this user asks for gets a few seats at the API server; what does not fit is refused with 429 and a Retry-After. */
async function fewSeatsFor(kube: Cluster, user: string): Promise<string> {
  const name = uniqueName("few-seats");
  await must(kube, "POST", `${FLOW}/prioritylevelconfigurations`, {
    apiVersion: "flowcontrol.apiserver.k8s.io/v1",
    kind: "PriorityLevelConfiguration",
    metadata: { name },
    spec: {
      type: "Limited",
      limited: { nominalConcurrencyShares: 1, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: { type: "Reject" } },
    },
  });
  await must(kube, "POST", `${FLOW}/flowschemas`, {
    apiVersion: "flowcontrol.apiserver.k8s.io/v1",
    kind: "FlowSchema",
    metadata: { name },
    spec: {
      priorityLevelConfiguration: { name },
      matchingPrecedence: 10,
      rules: [
        {
          subjects: [{ kind: "User", user: { name: user } }],
          resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"], clusterScope: true, namespaces: ["*"] }],
        },
      ],
    },
  });
  return name;
}

/** The API server's own count of what it refused. */
async function rejected(kube: Cluster, level: string): Promise<number> {
  const text = await (await kube.request("GET", "/metrics")).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith("apiserver_flowcontrol_rejected_requests_total{") && line.includes(`priority_level="${level}"`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}

describe("an API server that rejects what is too much", () => {
  kubeTest(
    "gets fewer at a time from then on, and everything is applied",
    async () => {
      await using kube = await startKube();
      // Not of system:masters, who are exempt.
      const { kubeconfigPath } = await kube.clientCertificate("throttled");
      await kube.kubectl(["create", "clusterrolebinding", "throttled", "--clusterrole=cluster-admin", "--user=throttled"]);
      const level = await fewSeatsFor(kube, "throttled");
      const client = await clientOf(kube, kubeconfigPath);
      // The level counts as soon as the API server says who is in it.
      await eventually(
        async () =>
          (await client.send({ method: "GET", path: "/api/v1/nodes" })).headers.get("x-kubernetes-pf-prioritylevel-uid") ===
          (await uidOf(kube, level)),
        { what: "the flow schema", timeoutMs: 30_000 },
      );
      const total = 400;
      const objects = parsed(...Array.from({ length: total }, (_, at) => configMap(`c${at}`, { text: "x".repeat(2_000) })));
      const { told } = await walk(client, objects);
      const refused = await rejected(kube, level);
      // Without a lower pace it is more than a hundred: a burst of 30 each second. With it, 32 and half as many each time until they fit.
      expect(refused).toBeGreaterThan(0);
      expect(refused).toBeLessThan(90);
      expect(told.filter((one) => one.startsWith("created"))).toHaveLength(total);
    },
    180_000,
  );
});

async function uidOf(kube: Cluster, level: string): Promise<string> {
  const object = (await (await kube.request("GET", `${FLOW}/prioritylevelconfigurations/${level}`)).json()) as {
    metadata: { uid: string };
  };
  return object.metadata.uid;
}
