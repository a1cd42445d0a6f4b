import { describe, expect } from "bun:test";
import { at, chartDirectory, besideChartTest, type ChartName } from "./helm-tools.ts";
import { chartKube } from "./chart-cluster.ts";
import { helm } from "./helm-tools.ts";

/** What people are shown when they install: rendered by the API server's side, so that what is looked up there counts. */
async function notes(chart: ChartName, set: string): Promise<string> {
  const kube = await chartKube();
  const answer: unknown = JSON.parse(
    await helm(
      ["install", chart, chartDirectory(chart), "--namespace=transporter-system", "--dry-run=server", "--output=json", "--set", set],
      {
        kubeconfig: kube.kubeconfigPath,
      },
    ),
  );
  return String(at(answer, "info", "notes"));
}

const HASH = `sha256:${"0".repeat(64)}`;
const SECURE = `agent.agentID=shop-1,agent.clusterName=shop,agent.cpURL=https://cp.example.com,agent.caHash=${HASH},enrolment.existingSecret=t`;

type Told = readonly [chart: ChartName, set: string, says: readonly string[], saysNot: readonly string[]];

const CASES: readonly Told[] = [
  [
    "transporter-agent",
    SECURE,
    [
      "Agent shop-1 of cluster shop dials https://cp.example.com.",
      "RIGHTS: READ-ONLY. It looks, and changes nothing",
      "--set rbac.preset=namespaced",
      "kubectl -n transporter-system rollout status deployment/transporter-agent",
      "helm test transporter-agent -n transporter-system",
      "transporter get agents shop-1",
      "StorageClass",
    ],
    ["WARNING", "WITHOUT TLS", "no token", "agent.caHash"],
  ],
  [
    "transporter-agent",
    "agent.id=a,agent.cpURL=https://cp",
    ["It has no token to enrol with", "transporter token create --agent a"],
    ["WARNING"],
  ],
  [
    "transporter-agent",
    "agent.id=a,agent.cpURL=ws://cp:8080/ws",
    ["WARNING: ws://cp:8080/ws IS WITHOUT TLS", "transporter token create --agent a", "0.1"],
    ["no token to enrol"],
  ],
  ["transporter-agent", `${SECURE},agent.insecure=true`, ["WARNING: agent.insecure takes any certificate"], []],
  ["transporter-agent", `${SECURE},serviceAccount.create=false`, ["WARNING: they are given to the account `default`"], []],
  ["transporter-agent", `${SECURE},serviceAccount.create=false,serviceAccount.name=me`, [], ["WARNING"]],
  [
    "transporter-agent",
    `${SECURE},rbac.preset=impersonator,rbac.impersonate={shop/deployer,group:crew}`,
    ["RIGHTS: none of its own", "act as shop/deployer, group:crew", "--service-account"],
    ["READ-ONLY"],
  ],
  ["transporter-agent", `${SECURE},rbac.preset=clusterAdmin`, ["RIGHTS: CLUSTER-ADMIN", "owns this cluster"], ["READ-ONLY"]],
  [
    "transporter-agent",
    `${SECURE},rbac.preset=namespaced,rbac.namespaces={shop,jobs}`,
    ["RIGHTS: it applies, deletes and restores the usual kinds in shop, jobs", "every account and Secret there"],
    ["READ-ONLY"],
  ],
  [
    "transporter-agent",
    `${SECURE},rbac.create=false,serviceAccount.create=false,serviceAccount.name=me`,
    ["RIGHTS: those that the ServiceAccount me has already", "get and patch on the Secret transporter-agent-identity"],
    ["READ-ONLY"],
  ],
  [
    "transporter-agent",
    `${SECURE},agent.inCluster=false,persistence.enabled=false`,
    ["RIGHTS: those of the kubeconfig", "each new pod needs a fresh token", "Mount the kubeconfig at /etc/transporter/kubeconfig/config"],
    ["READ-ONLY"],
  ],
  ["transporter-agent", `${SECURE},podDisruptionBudget.enabled=true`, ["keeps the node of the agent from being drained"], []],
  ["transporter-agent", `${SECURE},persistence.enabled=false`, ["may be carried out twice"], ["StorageClass"]],
  ["transporter-agent", `${SECURE},replicaCount=0`, ["replicaCount is 0: nothing runs"], []],
  [
    "transporter-cp",
    "debug=false",
    [
      "on SQLite",
      "transporter login",
      "--ca-hash",
      "transporter token create --agent agent-1",
      "helm test transporter-cp",
      "helm uninstall deletes the volume claim",
    ],
    ["WITHOUT SECURITY", "OPEN FOR 0.1"],
  ],
  ["transporter-cp", "security.enabled=false", ["!!! WITHOUT SECURITY"], ["transporter login"]],
  [
    "transporter-cp",
    "service.type=LoadBalancer",
    [
      // Before the token is spent on a namespace that is not there.
      "kubectl --context AGENT_CLUSTER create namespace transporter-system   # unless it is there\n  transporter token create",
      '--set agent.caHash="$HASH"',
      "helm uninstall deletes the Secret transporter-cp-security",
    ],
    [],
  ],
  // An agent that is given the hash takes nothing but certificates of that CA, and in front is another one.
  ["transporter-cp", "ingress.enabled=true,ingress.hosts={cp.example.com}", ['agent.cpURL="$CP"'], ["caHash", "--ca-hash"]],
  [
    "transporter-cp",
    "persistence.keep=true",
    ["leaves the volume claim transporter-cp and the Secret transporter-cp-security"],
    ["helm uninstall deletes"],
  ],
  ["transporter-cp", "legacy.enabled=true,legacy.agents={a,b}", ["!!! OPEN FOR 0.1: agents a, b", "legacy.enabled=false"], []],
  ["transporter-cp", "persistence.enabled=false", ["!!! NOTHING IS KEPT"], []],
  [
    "transporter-cp",
    "redis.enabled=true,replicaCount=2",
    ["on Redis", "The password of Redis".replace("The", "the")],
    ["deletes the volume claim"],
  ],
  ["transporter-cp", "redis.enabled=true,redis.auth.enabled=false", ["!!! The Redis has no password"], []],
  [
    "transporter-cp",
    "redis.enabled=true,redis.replica.replicaCount=3,memphis.enabled=true",
    ["not used of your values", "redis.replica", "memphis"],
    [],
  ],
];

describe("the notes", () => {
  for (const [chart, set, says, saysNot] of CASES)
    besideChartTest(`${chart}: ${set.replace(SECURE, "secured")}`, async () => {
      const text = await notes(chart, set);
      for (const part of says) expect(text).toContain(part);
      for (const part of saysNot) expect(text).not.toContain(part);
      // No half-rendered line, and no hole where something was left out.
      expect(text).not.toMatch(/<no value>|\{\{|%!|\n\n\n/);
    });
});
