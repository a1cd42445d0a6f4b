import { describe, expect } from "bun:test";
import { runCli } from "../support/cli.ts";
import { at, chartTest, find, isRecord, type Json, listAt, NAMESPACE, objects, render } from "./helm-tools.ts";

const RBAC = new Set(["ServiceAccount", "Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]);

/** What makes rights what they are, without labels and the like. */
function essence(all: readonly Json[]): readonly string[] {
  return all
    .filter((object) => RBAC.has(String(object["kind"])))
    .map((object) => {
      const { apiVersion, kind, type, rules, roleRef, subjects } = object;
      const metadata = { name: at(object, "metadata", "name"), namespace: at(object, "metadata", "namespace") };
      return JSON.stringify({
        apiVersion,
        kind,
        metadata,
        type,
        rules: sorted(rules),
        roleRef: sorted(roleRef),
        subjects: sorted(subjects),
      });
    })
    .toSorted();
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .toSorted()
      .map((key) => [key, sorted(value[key])]),
  );
}

/** What `agent rbac` prints, but for the namespace, which is helm's to make. */
async function printed(args: readonly string[]): Promise<readonly string[]> {
  const { code, out, err } = await runCli(["agent", "rbac", ...args]);
  if (code !== 0) throw new Error(err);
  return essence(objects(out));
}

const CASES: readonly (readonly [set: string, args: readonly string[]])[] = [
  ["", ["--preset=readOnly"]],
  ["rbac.preset=readOnly,rbac.namespaces={shop,jobs}", ["--preset=readOnly", "--namespace=shop", "--namespace=jobs"]],
  [
    "rbac.preset=readOnly,rbac.groups={argoproj.io,cert-manager.io}",
    ["--preset=readOnly", "--group=argoproj.io", "--group=cert-manager.io"],
  ],
  ["rbac.preset=namespaced,rbac.namespaces={shop,jobs}", ["--preset=namespaced", "--namespace=shop", "--namespace=jobs"]],
  [
    "rbac.preset=namespaced,rbac.namespaces={shop},rbac.groups={argoproj.io}",
    ["--preset=namespaced", "--namespace=shop", "--group=argoproj.io"],
  ],
  ["rbac.preset=clusterAdmin", ["--preset=clusterAdmin"]],
  [
    "rbac.preset=impersonator,rbac.impersonate={shop/deployer,shop/jobs,group:release managers,web/*,web/one,user:jane,extra:example.com/scope=a=b,uid:7,user:true}",
    [
      "--preset=impersonator",
      "--impersonate=shop/deployer",
      "--impersonate=shop/jobs",
      "--impersonate=group:release managers",
      "--impersonate=web/*",
      "--impersonate=web/one",
      "--impersonate=user:jane",
      "--impersonate=extra:example.com/scope=a=b",
      "--impersonate=uid:7",
      "--impersonate=user:true",
    ],
  ],
  ["rbac.preset=impersonator,rbac.impersonate={shop/deployer}", ["--preset=impersonator", "--impersonate=shop/deployer"]],
];

describe("the chart gives exactly the rights that `transporter agent rbac` prints", () => {
  for (const [set, args] of CASES)
    chartTest(args.join(" "), async () => {
      const rendered = objects(await render("transporter-agent", ["--set", set === "" ? "debug=false" : set]));
      expect(essence(rendered)).toEqual(await printed(args));
    });
});

function agentArgs(rendered: readonly Json[]): readonly string[] {
  return listAt(find(rendered, "Deployment"), "spec", "template", "spec", "containers", 0, "args").map(String);
}

const RULES = `{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}`;

describe("--read-only goes with the rights", () => {
  for (const [set, readOnly] of [
    ["debug=false", true],
    ["rbac.namespaces={shop}", true],
    ["agent.readOnly=false", false],
    ["rbac.preset=namespaced,rbac.namespaces={shop}", false],
    ["rbac.preset=clusterAdmin", false],
    ["rbac.preset=clusterAdmin,agent.readOnly=true", true],
    ["rbac.create=false", false],
    ["agent.inCluster=false,agent.kubeconfigSecret=k", false],
  ] as const)
    chartTest(set, async () => {
      const args = agentArgs(objects(await render("transporter-agent", ["--set", set])));
      expect(args.includes("--read-only")).toBe(readOnly);
    });

  chartTest("rbac.rules of 0.1 are a ClusterRole, and the agent applies", async () => {
    const rendered = objects(await render("transporter-agent", ["--set-json", `rbac.rules=[${RULES}]`]));
    expect(at(find(rendered, "ClusterRole", "transporter-agent"), "rules")).toEqual([JSON.parse(RULES)]);
    expect(find(rendered, "ClusterRoleBinding", "transporter-agent")).toBeDefined();
    expect(agentArgs(rendered)).not.toContain("--read-only");
  });
});

describe("--require-impersonation goes with the rights", () => {
  for (const [set, required] of [
    ["debug=false", false],
    ["rbac.preset=impersonator,rbac.impersonate={shop/deployer}", true],
    ["rbac.preset=impersonator,rbac.impersonate={shop/deployer},agent.requireImpersonation=false", false],
    ["rbac.create=false,agent.requireImpersonation=true", true],
  ] as const)
    chartTest(set, async () => {
      const args = agentArgs(objects(await render("transporter-agent", ["--set", set])));
      expect(args.includes("--require-impersonation")).toBe(required);
      expect(args.includes("--read-only")).toBe(set === "debug=false");
    });

  chartTest(
    "the event of the test is sent for an account that it may act as, where it can work, and not at all where none is known",
    async () => {
      const pods = async (set: string): Promise<readonly Json[]> =>
        objects(await render("transporter-agent", ["--set", `tests.tokenSecret=t,rbac.preset=impersonator,${set}`])).filter(
          (object) => object["kind"] === "Pod" && String(at(object, "metadata", "name")).endsWith("-event"),
        );
      const [pod] = await pods("rbac.impersonate={user:jane,shop/deployer}");
      expect(listAt(pod, "spec", "containers", 0, "args")).toContain("--service-account=shop/deployer");
      expect(await pods("rbac.impersonate={user:jane}")).toEqual([]);
    },
  );
});

describe("settings of the agent", () => {
  chartTest("both spellings of 0.1 say the same", async () => {
    const spelt = async (set: string): Promise<readonly string[]> =>
      agentArgs(objects(await render("transporter-agent", ["--values=-", "--set", set], "agent: {cpURL: 'ws://cp:8080/ws'}")));
    const one = await spelt("agent.agentID=a,agent.clusterName=c");
    expect(await spelt("agent.id=a,agent.cluster=c")).toEqual(one);
    expect(one).toContain("--agent-id=a");
    expect(one).toContain("--cluster-name=c");
    expect(one).toContain("--insecure");
  });

  chartTest("the command line takes every argument that the chart can make", async () => {
    const values = await Bun.file(`${import.meta.dir}/values/agent-everything.yaml`).text();
    const args = agentArgs(objects(await render("transporter-agent", ["--values=-"], values))).slice(1);
    // The test's settings are checked by the same code; a directory that cannot be made ends it after that.
    const ours = args.map((arg) => arg.replace(/^--state-dir=.*/, "--state-dir=/proc/nowhere"));
    const { err, out } = await runCli(["doctor", "agent", ...ours.filter((arg) => !arg.startsWith("--log-format"))]);
    expect(err).not.toMatch(/Unknown|unknown flag|cannot be used|is required|contradict/i);
    expect(out).toContain("agent shop-1 of cluster shop");
  });

  chartTest("no secret is an argument or a variable", async () => {
    const text = await render("transporter-agent", ["--set", "enrolment.token=tpe_of-this-test-alone,tests.tokenSecret=t"]);
    const holding = objects(text).filter((object) => JSON.stringify(object).includes("tpe_of-this-test-alone"));
    expect(holding.map((object) => object["kind"])).toEqual(["Secret"]);
  });

  chartTest("the identity's Secret has no data: an upgrade leaves what the agent wrote", async () => {
    const secret = find(objects(await render("transporter-agent", [])), "Secret", "transporter-agent-identity");
    expect(Object.keys(secret ?? {}).toSorted()).toEqual(["apiVersion", "kind", "metadata", "type"]);
  });

  chartTest("everything says its namespace, or is of the whole cluster", async () => {
    const text = await render("transporter-agent", ["--set", "rbac.preset=namespaced,rbac.namespaces={shop},tests.tokenSecret=t"]);
    const namespaces = objects(text).map((object) => String(at(object, "metadata", "namespace")));
    expect([...new Set(namespaces)].toSorted()).toEqual(["shop", NAMESPACE]);
  });
});
