import { describe, expect, test } from "bun:test";
import type { KubeClient } from "../../src/k8s/mod.ts";
import type { ActingIdentity } from "../../src/protocol/mod.ts";
import { clientOf } from "../k8s/walk.ts";
import { runCli } from "../support/cli.ts";
import { kubeTest, sharedKube, uniqueName } from "../support/kube.ts";

const RBAC = ["agent", "rbac"];

describe("agent rbac", () => {
  test.each([
    [["--preset=impersonator"], "needs those whom the agent may act as"],
    [["--preset=impersonator", "--impersonate=shop/a", "--namespace=shop"], "--namespace and --group mean nothing with it"],
    [["--preset=impersonator", "--impersonate=shop/a", "--group=example.com"], "--namespace and --group mean nothing with it"],
    [["--preset=readOnly", "--impersonate=shop/a"], "--impersonate means nothing with it"],
    [["--preset=clusterAdmin", "--namespace=shop"], "--namespace means nothing with it"],
    [["--preset=namespaced"], "needs the namespaces"],
    [["--preset=impersonator", "--impersonate=user:*"], "everybody owns the cluster"],
    [["--preset=impersonator", "--impersonate=group:system:masters"], "owns the cluster"],
    [["--preset=impersonator", "--impersonate=deployer"], "NAMESPACE/ACCOUNT"],
    [["--preset=impersonator", "--impersonate=Shop/deployer"], "NAMESPACE/ACCOUNT"],
    [["--preset=impersonator", "--impersonate=user: jane"], "NAMESPACE/ACCOUNT"],
    [["--preset=impersonator", "--impersonate=extra:Scope=a"], "in lower case"],
    [["--preset=impersonator", "--impersonate=extra:scope"], "NAMESPACE/ACCOUNT"],
  ])("%j is refused with a word that helps, and nothing is printed", async (args, word) => {
    const { code, out, err } = await runCli([...RBAC, ...args]);
    expect(code).not.toBe(0);
    expect(out).toBe("");
    expect(err).toContain(word);
  });

  kubeTest("grants to act as those that are named, in all their parts, and as nobody else", async () => {
    const kube = await sharedKube();
    const account = uniqueName("agent");
    const user = `${uniqueName("jürgen")} O'Neil: "true"`;
    const grants = [
      `user:${user}`,
      "group:release managers",
      "group:no",
      "uid:1e3",
      "extra:example.com/scope=a=b",
      `${account}/one`,
      "default/*",
    ];
    const { code, out, err } = await runCli([
      ...RBAC,
      "--preset=impersonator",
      `--agent-namespace=${account}`,
      `--account=${account}`,
      ...grants.map((grant) => `--impersonate=${grant}`),
    ]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    await kube.kubectl(["apply", "-f", "-"], { input: out });
    const token = await kube.kubectl(["--namespace", account, "create", "token", account]);
    const client = await clientOf(kube, await kube.kubeconfigFor(account, token.trim(), account));
    const whole: ActingIdentity = { user, groups: ["release managers", "no"], uid: "1e3", extra: { "example.com/scope": ["a=b"] } };
    const nobody = { groups: [], uid: undefined, extra: {} };
    expect(await mayAct(client, whole)).toBe(true);
    expect(await mayAct(client, { ...nobody, user: `system:serviceaccount:${account}:one` })).toBe(true);
    expect(await mayAct(client, { ...nobody, user: "system:serviceaccount:default:whoever" })).toBe(true);
    for (const other of [
      { ...whole, user: "jane" },
      { ...whole, groups: ["release managers", "yes"] },
      { ...whole, uid: "1000" },
      { ...whole, extra: { "example.com/scope": ["a=b", "c"] } },
      { ...whole, extra: { "example.com/other": ["a=b"] } },
      { ...nobody, user: `system:serviceaccount:${account}:two` },
      { ...nobody, user: "system:serviceaccount:kube-system:default" },
    ])
      expect({ other, allowed: await mayAct(client, other) }).toEqual({ other, allowed: false });
    // And as itself it may do nothing.
    const own = await client.send({ method: "GET", path: `/api/v1/namespaces/${account}/configmaps` });
    expect(own.status).toBe(403);
  });
});

/** The API server's word: whoever it takes for this one may at least ask what there is. */
async function mayAct(client: KubeClient, identity: ActingIdentity): Promise<boolean> {
  const { status, text } = await client.as(identity).send({ method: "GET", path: "/api" });
  if (status !== 200 && status !== 403) throw new Error(text);
  return status === 200;
}
