import { describe, expect } from "bun:test";
import { AGENT, CHARTS, chartDirectory, type ChartName, chartTest, NAMESPACE, tryHelm } from "./helm-tools.ts";

async function refused(chart: ChartName, args: readonly string[], input?: string): Promise<string> {
  const { code, err, out } = await tryHelm(
    [
      "template",
      "the-release",
      chartDirectory(chart),
      `--namespace=${NAMESPACE}`,
      ...(chart === "transporter-agent" ? AGENT : []),
      ...args,
      ...(input === undefined ? [] : ["--values=-"]),
    ],
    input === undefined ? {} : { input },
  );
  if (code === 0) throw new Error(`not refused: ${args.join(" ")} ${input ?? ""}\n${out.slice(0, 300)}`);
  return err;
}

/** What is given, and what the refusal must name: the place, and what is wrong there. */
type Refusal = readonly [chart: ChartName, set: string, names: readonly string[]];

const SCHEMA: readonly Refusal[] = [
  ["transporter-agent", "agents.agentID=x", ["'agents' not allowed"]],
  ["transporter-agent", "agent.agentId=x", ["at '/agent'", "'agentId' not allowed"]],
  ["transporter-agent", "agent.cpUrl=https://x", ["at '/agent'", "'cpUrl' not allowed"]],
  ["transporter-agent", "rbac.presets=readOnly", ["at '/rbac'", "'presets' not allowed"]],
  ["transporter-agent", "rbac.preset=cluster-admin", ["at '/rbac/preset'", "clusterAdmin"]],
  ["transporter-agent", "rbac.namespaces=shop", ["at '/rbac/namespaces'", "got string, want array"]],
  ["transporter-agent", "debug=yes-please", ["at '/debug'", "got string, want boolean"]],
  ["transporter-agent", "agent.cpURL=ftp://cp.example.com", ["at '/agent/cpURL'"]],
  ["transporter-agent", "agent.cpURL=cp.example.com:8080", ["at '/agent/cpURL'"]],
  ["transporter-agent", "agent.caHash=sha256:abc", ["at '/agent/caHash'"]],
  ["transporter-agent", "agent.maxConcurrent=0", ["at '/agent/maxConcurrent'"]],
  ["transporter-agent", "agent.heartbeatInterval=10", ["at '/agent/heartbeatInterval'"]],
  ["transporter-agent", "image.pullPolicy=Sometimes", ["at '/image/pullPolicy'"]],
  ["transporter-agent", "image.digest=latest", ["at '/image/digest'"]],
  ["transporter-agent", "persistence.storageclass=x", ["at '/persistence'", "'storageclass' not allowed"]],
  ["transporter-agent", "probes.liveness.period=1", ["at '/probes/liveness'", "'period' not allowed"]],
  ["transporter-agent", "rbac.rules[0].verb=get", ["at '/rbac/rules/0'", "'verb' not allowed"]],
  ["transporter-cp", "securty.enabled=false", ["'securty' not allowed"]],
  ["transporter-cp", "cp.redis.adr=x", ["at '/cp/redis'", "'adr' not allowed"]],
  ["transporter-cp", "cp.heartbeatTimeout=often", ["at '/cp/heartbeatTimeout'"]],
  ["transporter-cp", "service.type=Cluster", ["at '/service/type'"]],
  ["transporter-cp", "replicaCount=two", ["at '/replicaCount'"]],
  ["transporter-cp", "legacy.enabled=maybe", ["at '/legacy/enabled'"]],
  ["transporter-cp", "security.admin.secret=x", ["at '/security/admin'", "'secret' not allowed"]],
  ["transporter-cp", "store.type=postgres", ["at '/store/type'"]],
  ["transporter-cp", "metrics.serviceMonitor.enable=true", ["at '/metrics/serviceMonitor'", "'enable' not allowed"]],
];

const CHECKED: readonly Refusal[] = [
  ["transporter-cp", "replicaCount=null", ["replicaCount is null"]],
  ["transporter-cp", "cp.maxInFlight=null", ["cp.maxInFlight is null"]],
  ["transporter-agent", "agent.agentID=", ["agent.agentID is missing"]],
  ["transporter-agent", "agent.cpURL=", ["agent.cpURL is missing"]],
  ["transporter-agent", "replicaCount=2", ["replicaCount", "one process"]],
  ["transporter-agent", "agent.id=another", ["agent.agentID (shop-1) and agent.id (another)"]],
  ["transporter-agent", "agent.clusterName=a,agent.cluster=b", ["agent.clusterName (a) and agent.cluster (b)"]],
  ["transporter-agent", "agent.cpURL=https://a\\,ws://b", ["with and without TLS"]],
  ["transporter-agent", "image.tag=0.1.3", ["image.tag 0.1.3 is of 0.1"]],
  ["transporter-agent", "rbac.preset=namespaced", ["rbac.preset namespaced needs rbac.namespaces"]],
  ["transporter-agent", "rbac.preset=clusterAdmin,rbac.namespaces={shop}", ["rbac.namespaces bounds nothing"]],
  ["transporter-agent", "rbac.preset=impersonator", ["needs rbac.impersonate"]],
  [
    "transporter-agent",
    "rbac.preset=impersonator,rbac.impersonate={shop/a},rbac.namespaces={shop}",
    ["mean nothing with rbac.preset impersonator"],
  ],
  ["transporter-agent", "rbac.impersonate={shop/a}", ["rbac.impersonate means nothing with rbac.preset readOnly"]],
  ["transporter-agent", "rbac.preset=impersonator,rbac.impersonate={group:system:masters}", ["owns the cluster"]],
  ["transporter-agent", "enrolment.token=tpe_x,enrolment.existingSecret=s", ["enrolment: give one of"]],
  ["transporter-agent", "enrolment.token=tpe_x,enrolment.serviceAccountToken.enabled=true", ["enrolment: give one of"]],
  ["transporter-agent", "identity.existingSecret=s,identity.certManager.enabled=true", ["identity: give one of"]],
  ["transporter-agent", "identity.certManager.enabled=true", ["identity.certManager.issuerRef.name is missing"]],
  ["transporter-agent", "extraCA.configMap=a,extraCA.secret=b", ["extraCA: give one of"]],
  ["transporter-agent", "networkPolicy.egress.enabled=true", ["networkPolicy.egress.rules is empty"]],
  [
    "transporter-agent",
    "podDisruptionBudget.enabled=true,podDisruptionBudget.minAvailable=1,podDisruptionBudget.maxUnavailable=1",
    ["podDisruptionBudget: give one of"],
  ],
  ["transporter-cp", "replicaCount=2", ["replicaCount is 2", "SQLite", "redis.enabled=true"]],
  ["transporter-cp", "autoscaling.enabled=true", ["autoscaling.enabled", "SQLite"]],
  ["transporter-cp", "store.type=redis", ["no Redis is named"]],
  ["transporter-cp", "store.type=sqlite,cp.redis.addr=r:6379", ["store.type is sqlite"]],
  ["transporter-cp", "store.url=redis://u:secret@r:6379", ["has a password in it"]],
  ["transporter-cp", "queue.url=nats://u:secret@n:4222/S", ["queue.url has a password in it"]],
  ["transporter-cp", "legacy.enabled=true", ["legacy.agents"]],
  ["transporter-cp", "security.existingSecret=s", ["security.admin.existingSecret"]],
  ["transporter-cp", "security.existingSecret=s,security.certManager.enabled=true", ["both say where the server certificate comes from"]],
  ["transporter-cp", "security.tlsByProxy=true", ["security.trustedProxies"]],
  ["transporter-cp", "security.oidc.issuer=https://id", ["security.oidc.audience"]],
  ["transporter-cp", "security.enabled=false,security.tlsByProxy=true", ["security.enabled is false"]],
  ["transporter-cp", "gateway.enabled=true", ["gateway.parentRefs"]],
  ["transporter-cp", "migrate.from01.enabled=true", ["needs one source"]],
  ["transporter-cp", "publish.kinds={status}", ["publish.kinds needs publish.to"]],
  ["transporter-cp", "redis.enabled=true,terminationGracePeriodSeconds=6", ["terminationGracePeriodSeconds is 6"]],
];

for (const [what, refusals] of [
  ["the schema refuses, and names the key", SCHEMA],
  ["the chart refuses, and says what to do", CHECKED],
] as const)
  describe(what, () => {
    for (const [chart, set, names] of refusals)
      chartTest(`${chart}: ${set}`, async () => {
        const err = await refused(chart, ["--set", set]);
        for (const name of names) expect(err).toContain(name);
        // Told by what is wrong with it, not by the line of a template that stumbled over it.
        expect(err).not.toMatch(/nil pointer|can't evaluate|wrong type for value/);
      });
  });

chartTest("whatever is under `global` is a parent chart's business", async () => {
  for (const chart of CHARTS) {
    const args = ["template", chart, chartDirectory(chart), ...(chart === "transporter-agent" ? AGENT : [])];
    const { code, err } = await tryHelm([...args, "--set", "global.a.b=c,global.d=1"]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
  }
});

chartTest("a values file with several faults is told all of them at once", async () => {
  const err = await refused("transporter-agent", [], "agent: {agentid: x}\ndebug: 1\nrbac: {preset: all}\n");
  for (const part of ["'agentid' not allowed", "at '/debug'", "at '/rbac/preset'"]) expect(err).toContain(part);
});
