import { describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TransporterError } from "../../src/kit/mod.ts";
import type { KubeClient } from "../../src/k8s/mod.ts";
import type { ActingIdentity } from "../../src/protocol/mod.ts";
import { type Cluster, freshNamespace, kubeTest, sharedKube, uniqueName } from "../support/kube.ts";
import { clientOf, configMap, parsed, refusal, walk } from "./walk.ts";

interface Who {
  readonly username: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

function somebody(user: string, more: Partial<ActingIdentity> = {}): ActingIdentity {
  return { user, groups: [], uid: undefined, extra: {}, ...more };
}

/** The API server's own word on who asks. */
async function whoAmI(client: KubeClient): Promise<Who> {
  const answer = await client.send({
    method: "POST",
    path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    contentType: "application/json",
    body: JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" }),
  });
  if (answer.status !== 201) throw new Error(answer.text);
  return (JSON.parse(answer.text) as { status: { userInfo: Who } }).status.userInfo;
}

describe("a client as somebody else", () => {
  kubeTest("is who it says, in all parts: many groups, uid, extra fields, names beyond ASCII", async () => {
    const client = await clientOf(await sharedKube());
    expect((await whoAmI(client)).username).toBe("admin");
    const account = await whoAmI(client.as(somebody("system:serviceaccount:shop:deployer")));
    expect(account.username).toBe("system:serviceaccount:shop:deployer");
    expect(account.groups?.toSorted()).toEqual(["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:shop"]);
    const one = await whoAmI(client.as(somebody("jürgen 李", { groups: ["devs, ops"] })));
    expect([one.username, one.groups?.toSorted()]).toEqual(["jürgen 李", ["devs, ops", "system:authenticated"]]);
    const whole = await whoAmI(
      client.as(
        somebody("jane", { groups: ["devs", "ops", "größe"], uid: "u-1", extra: { "example.com/scope": ["a", "b,c"], "w%w": ["é"] } }),
      ),
    );
    expect(whole.username).toBe("jane");
    expect(whole.uid).toBe("u-1");
    expect(whole.groups?.toSorted()).toEqual(["devs", "größe", "ops", "system:authenticated"]);
    expect(whole.extra).toEqual({ "example.com/scope": ["a", "b,c"], "w%w": ["é"] });
    // Beside them the client itself is who it was.
    expect((await whoAmI(client)).username).toBe("admin");
  });

  kubeTest("by a client certificate too, and each identity on connections of its own", async () => {
    const kube = await sharedKube();
    const { kubeconfigPath } = await kube.clientCertificate("carol", ["system:masters"]);
    const client = await clientOf(kube, kubeconfigPath);
    const names = ["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ivy", "jon"];
    const seen = await Promise.all(
      [...names, ...names].map(async (name) => {
        const who = await whoAmI(client.as(somebody(name, { groups: [`${name}-1`, `${name}-2`] })));
        return [who.username, ...(who.groups ?? [])].filter((one) => !one.startsWith("system:"));
      }),
    );
    expect(seen).toEqual([...names, ...names].map((name) => [name, `${name}-1`, `${name}-2`]));
  });

  kubeTest("checks the API server's certificate on every way there", async () => {
    const kube = await sharedKube();
    const directory = await mkdtemp(join(tmpdir(), "transporter-as-"));
    try {
      const asAll = async (name: string, change: (cluster: Record<string, unknown>) => void): Promise<string[]> => {
        const config = JSON.parse(await Bun.file(kube.kubeconfigPath).text()) as { clusters: { cluster: Record<string, unknown> }[] };
        for (const { cluster } of config.clusters) change(cluster);
        await Bun.write(join(directory, name), JSON.stringify(config));
        const client = await clientOf(kube, join(directory, name));
        // One way for up to one group, another for more.
        return Promise.all(
          [[], ["a"], ["a", "b"]].map((groups) =>
            whoAmI(client.as(somebody("jane", { groups }))).then(
              ({ username }) => username,
              (error: unknown) => (error as TransporterError).code,
            ),
          ),
        );
      };
      const untrusted = await asAll("untrusted", (cluster) => delete cluster["certificate-authority-data"]);
      expect(untrusted).toEqual(["KUBE_CONFIG_INVALID", "KUBE_CONFIG_INVALID", "KUBE_CONFIG_INVALID"]);
      const misnamed = await asAll("misnamed", (cluster) => (cluster["tls-server-name"] = "elsewhere.example.com"));
      expect(misnamed).toEqual(untrusted);
      expect(await asAll("named", (cluster) => (cluster["tls-server-name"] = "kubernetes.default.svc"))).toEqual(["jane", "jane", "jane"]);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  kubeTest("keeps the discovery of few identities, and one for each", async () => {
    const client = await clientOf(await sharedKube());
    const first = client.as(somebody("ann", { extra: { a: ["1"], b: ["2"] } }));
    expect(client.as(somebody("ann", { extra: { b: ["2"], a: ["1"] } }))).toBe(first);
    expect(client.as(somebody("ann")).discovery).not.toBe(first.discovery);
    for (let at = 0; at < 8; at += 1) client.as(somebody(`other-${at}`));
    expect(client.as(somebody("ann", { extra: { a: ["1"], b: ["2"] } }))).not.toBe(first);
  });

  test.each([
    ["a user with a newline", somebody("a\r\nImpersonate-Group: system:masters")],
    ["a user that ends with a blank", somebody("admin ")],
    ["an empty group", somebody("ann", { groups: ["devs", ""] })],
    ["a half character", somebody("ann\ud800")],
    ["an extra key in capitals", somebody("ann", { extra: { Scope: ["x"] } })],
    ["more groups than anybody has", somebody("ann", { groups: Array.from({ length: 300 }, (_, at) => `g${at}`) })],
  ])("refuses %s before anything is sent", async (_, identity) => {
    const access = { server: "https://127.0.0.1:1", source: "a test", namespace: undefined, proxy: undefined };
    const { createKubeClient } = await import("../../src/k8s/mod.ts");
    const { silentLogger, systemPorts } = await import("../../src/kit/mod.ts");
    const client = createKubeClient(
      { ...access, credentials: () => Promise.reject(new Error("asked")), reload: () => undefined },
      { ports: systemPorts, log: silentLogger },
    );
    expect((await refusal(Promise.resolve().then(() => client.as(identity)))).code).toBe("INVALID_EVENT");
  });
});

/** An account that may act as what the rules say, and nothing else. */
async function agentOf(kube: Cluster, rules: readonly unknown[]): Promise<{ readonly kubeconfig: string; readonly user: string }> {
  await using space = await freshNamespace(kube);
  const name = uniqueName("agent");
  const metadata = { name };
  const must = async (path: string, body: unknown): Promise<Record<string, unknown>> => {
    const answer = await kube.request("POST", path, body);
    if (!answer.ok) throw new Error(await answer.text());
    return (await answer.json()) as Record<string, unknown>;
  };
  await must(`/api/v1/namespaces/default/serviceaccounts`, { metadata });
  const rbac = "/apis/rbac.authorization.k8s.io/v1";
  await must(`${rbac}/clusterroles`, { metadata, rules });
  await must(`${rbac}/clusterrolebindings`, {
    metadata,
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name },
    subjects: [{ kind: "ServiceAccount", name, namespace: "default" }],
  });
  const { status } = await must(`/api/v1/namespaces/default/serviceaccounts/${name}/token`, { spec: {} });
  const token = String((status as Record<string, unknown>)["token"]);
  return { kubeconfig: await kube.kubeconfigFor(name, token, space.name), user: `system:serviceaccount:default:${name}` };
}

describe("whose hands: the API server's own refusals, in words that help", () => {
  kubeTest("an agent that may not act as that one is told what it lacks", async () => {
    const kube = await sharedKube();
    const agent = await agentOf(kube, [
      { apiGroups: [""], resources: ["serviceaccounts"], resourceNames: ["other"], verbs: ["impersonate"] },
    ]);
    const client = await clientOf(kube, agent.kubeconfig);
    const error = await refusal(walk(client.as(somebody("system:serviceaccount:shop:deployer")), parsed(configMap("a", {}))));
    expect(error.code).toBe("FORBIDDEN");
    expect(error.message).toContain(`the agent's account "${agent.user}" may not act as system:serviceaccount:shop:deployer`);
    expect(error.remedy).toContain("agent rbac --preset impersonator --impersonate shop/deployer");
    const person = await refusal(walk(client.as(somebody("jane", { groups: ["dev ops", "devs"], uid: "7" })), parsed(configMap("a", {}))));
    expect(person.message).toContain("may not act as jane of the groups dev ops, devs");
    expect(person.remedy).toContain("--impersonate user:jane --impersonate 'group:dev ops' --impersonate group:devs --impersonate uid:7");
  });

  kubeTest("one that may act, as somebody who may not do it: the refusal names that one", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const agent = await agentOf(kube, [{ apiGroups: [""], resources: ["serviceaccounts"], verbs: ["impersonate"] }]);
    const client = await clientOf(kube, agent.kubeconfig);
    const user = `system:serviceaccount:${space.name}:default`;
    const error = await refusal(walk(client.as(somebody(user)), parsed(configMap("a", {}, space.name))));
    expect(error.code).toBe("FORBIDDEN");
    expect(error.message).toContain(`User "${user}" cannot`);
    expect(error.message).not.toContain("may not act");
    expect(error.remedy).toContain(user);
    // With the right it is done, by an agent that itself may do nothing.
    await space.kubectl(["create", "rolebinding", "edit", "--clusterrole=edit", `--serviceaccount=${space.name}:default`]);
    const { told } = await walk(client.as(somebody(user)), parsed(configMap("a", { x: "1" }, space.name)));
    expect(told).toEqual([`created ConfigMap ${space.name}/a`]);
    const own = await refusal(walk(client, parsed(configMap("b", {}, space.name))));
    expect(own.code).toBe("FORBIDDEN");
    expect(own.message).toContain(agent.user);
  });
});
