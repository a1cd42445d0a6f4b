import { describe, expect, test } from "bun:test";
import { parseAllDocuments } from "yaml";
import type { Cluster } from "../../sandbox/mod.ts";
import { configMap, eventFrame, startTestAgent } from "../support/agent.ts";
import { startCli } from "../support/cli.ts";
import { freshDirectory, registered, startIdentityAgent } from "../support/identity-agent.ts";
import { freshNamespace, kubeTest, sharedKube, uniqueName } from "../support/kube.ts";
import { scriptedCp, type ScriptedCp } from "../support/scripted-cp.ts";
import { startSecureCp } from "../support/secure-cp.ts";

type Json = Record<string, unknown>;

interface Account extends AsyncDisposable {
  readonly namespace: string;
  readonly name: string;
  readonly identitySecret: string;
  readonly kubeconfig: string;
  /** Whether the API server allows it this, everywhere or in a namespace. */
  readonly may: (
    verb: string,
    resource: string,
    of?: { readonly namespace?: string; readonly name?: string; readonly group?: string },
  ) => Promise<boolean>;
}

async function posted(kube: Cluster, path: string, body: Json): Promise<Json> {
  const response = await kube.request("POST", path, body);
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return JSON.parse(text) as Json;
}

/** Applies what the command prints, as its reader would, and answers the account that this makes. */
async function accountOf(kube: Cluster, args: readonly string[]): Promise<Account> {
  const [namespace, name, identitySecret] = [uniqueName("agents"), uniqueName("agent"), uniqueName("identity")];
  const flags = ["--agent-namespace", namespace, "--account", name, "--identity-secret", identitySecret];
  const { code, out, err } = await startCli(["agent", "rbac", ...args, ...flags]).ended;
  if (code !== 0) throw new Error(err);
  await kube.kubectl(["apply", "-f", "-"], { input: out });
  const token = await posted(kube, `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`, { spec: {} });
  return {
    namespace,
    name,
    identitySecret,
    kubeconfig: await kube.kubeconfigFor(name, String((token["status"] as Json)["token"]), namespace),
    async may(verb, resource, { group = "", ...of } = {}) {
      const review = await posted(kube, "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
        apiVersion: "authorization.k8s.io/v1",
        kind: "SubjectAccessReview",
        spec: { user: `system:serviceaccount:${namespace}:${name}`, resourceAttributes: { verb, resource, group, ...of } },
      });
      return (review["status"] as Json)["allowed"] === true;
    },
    async [Symbol.asyncDispose]() {
      await kube.request("DELETE", `/api/v1/namespaces/${namespace}`);
      for (const kind of ["clusterroles", "clusterrolebindings"])
        await kube.request("DELETE", `/apis/rbac.authorization.k8s.io/v1/${kind}/${name}`);
    },
  };
}

async function ended(cp: ScriptedCp, id: string, manifests: readonly string[]): Promise<Json> {
  (await cp.connection()).send(eventFrame(id, manifests));
  return cp.ended(id, 30_000);
}

function outcomes(last: Json): unknown[] {
  const { resource_status: resources } = last["result"] as { resource_status: Json[] };
  return resources.map((one) => [one["name"], one["status"]]);
}

const secret = (name: string, namespace: string): string =>
  `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: ${namespace}}\nstringData: {a: b}\n`;

/** What every preset is for: its own identity and no other Secret. */
async function hasOnlyItsIdentity({ may, namespace, identitySecret }: Account): Promise<void> {
  for (const verb of ["get", "patch"]) expect(await may(verb, "secrets", { namespace, name: identitySecret })).toBe(true);
  for (const verb of ["get", "patch", "delete"]) expect(await may(verb, "secrets", { namespace, name: "another" })).toBe(false);
  for (const verb of ["list", "watch", "create"]) expect(await may(verb, "secrets", { namespace })).toBe(false);
  expect(await may("delete", "secrets", { namespace, name: identitySecret })).toBe(false);
}

describe("the rights of a preset, as the API server sees them", () => {
  kubeTest("namespaced: what every operation needs in its namespaces, and nothing anywhere else", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    await using other = await freshNamespace(kube);
    await using account = await accountOf(kube, ["--preset", "namespaced", "--namespace", space.name]);
    await using cp = await scriptedCp({ protocol: 2 });
    await using _running = await startTestAgent({ cpUrl: cp.url, cluster: { access: { kubeconfig: account.kubeconfig } } });
    const deployment = `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: ${space.name}}\nspec:\n  replicas: 0\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec: {containers: [{name: web, image: nginx}]}\n`;
    const fine = await ended(cp, "fine", [configMap("settings", space.name), secret("password", space.name), deployment]);
    expect(outcomes(fine)).toEqual([
      ["settings", "created"],
      ["password", "created"],
      ["web", "created"],
    ]);
    expect(fine).toMatchObject({ state: "completed" });
    const refused = await ended(cp, "elsewhere", [configMap("settings", other.name)]);
    expect(refused).toMatchObject({ state: "failed", result: { error_code: "FORBIDDEN" } });
    const { may } = account;
    await hasOnlyItsIdentity(account);
    const here = { namespace: space.name };
    // For the operation delete, for making anew and for rolling back, of what it may make.
    expect(await may("delete", "configmaps", here)).toBe(true);
    expect(await may("deletecollection", "configmaps", here)).toBe(false);
    expect(await may("delete", "configmaps", { namespace: other.name })).toBe(false);
    expect(await may("get", "pods/log", here)).toBe(true);
    expect(await may("create", "pods/exec", here)).toBe(false);
    expect(await may("create", "serviceaccounts/token", here)).toBe(false);
    expect(await may("create", "roles", { ...here, group: "rbac.authorization.k8s.io" })).toBe(false);
    expect(await may("get", "secrets", { namespace: other.name })).toBe(false);
    expect(await may("list", "nodes")).toBe(false);
    expect(await may("create", "namespaces")).toBe(false);
  });

  kubeTest("readOnly: it looks at everything but Secrets, says what it cannot know, and changes nothing", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    await using account = await accountOf(kube, ["--preset", "readOnly"]);
    await space.kubectl(["create", "configmap", "there", "--from-literal=value=old"]);
    await using cp = await scriptedCp({ protocol: 2 });
    await using _running = await startTestAgent({
      cpUrl: cp.url,
      cluster: { access: { kubeconfig: account.kubeconfig } },
      readOnly: true,
    });
    const seen = await ended(cp, "look", [configMap("there", space.name), configMap("absent", space.name), secret("password", space.name)]);
    expect(seen).toMatchObject({ state: "completed", message: "Read-only: nothing was changed" });
    expect(outcomes(seen)).toEqual([
      ["there", "unknown"],
      ["absent", "would_create"],
      ["password", "unknown"],
    ]);
    const { resource_status: resources } = seen["result"] as { resource_status: Json[] };
    expect(String(resources[0]?.["message"])).toContain("a dry run needs the right to create and patch");
    expect(String(resources[2]?.["message"])).toContain("may not read it");
    expect(await ended(cp, "kind", ["apiVersion: example.com/v9\nkind: Widget\nmetadata: {name: x}\n"])).toMatchObject({
      state: "failed",
      result: { error_code: "UNKNOWN_KIND" },
    });
    const { may } = account;
    await hasOnlyItsIdentity(account);
    for (const verb of ["create", "patch", "update", "delete"])
      expect(await may(verb, "configmaps", { namespace: space.name })).toBe(false);
    expect(await may("patch", "deployments", { namespace: space.name, group: "apps" })).toBe(false);
    expect(await may("get", "secrets", { namespace: space.name })).toBe(false);
    expect(await may("list", "deployments", { group: "apps" })).toBe(true);
    expect(await may("list", "nodes")).toBe(true);
    expect(await may("get", "widgets", { group: "example.com" })).toBe(false);
  });

  kubeTest("readOnly in namespaces: the same there, and nothing elsewhere", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    await using account = await accountOf(kube, ["--preset", "readOnly", "--namespace", space.name, "--group", "example.com"]);
    const { may } = account;
    await hasOnlyItsIdentity(account);
    expect(await may("list", "configmaps", { namespace: space.name })).toBe(true);
    expect(await may("get", "widgets", { namespace: space.name, group: "example.com" })).toBe(true);
    expect(await may("get", "namespaces", { namespace: space.name, name: space.name })).toBe(true);
    expect(await may("patch", "configmaps", { namespace: space.name })).toBe(false);
    expect(await may("list", "configmaps", { namespace: "default" })).toBe(false);
    expect(await may("list", "configmaps")).toBe(false);
  });

  kubeTest("clusterAdmin: everything, by that explicit word", async () => {
    const kube = await sharedKube();
    await using account = await accountOf(kube, ["--preset", "clusterAdmin"]);
    expect(await account.may("*", "*", { group: "*" })).toBe(true);
  });
});

describe("an identity in a Secret", () => {
  kubeTest(
    "is written with the account's rights, is there after a restart, and a hand that labels the Secret is no hindrance",
    async () => {
      const kube = await sharedKube();
      await using account = await accountOf(kube, ["--preset", "readOnly"]);
      await using cp = await startSecureCp({ securityOptions: { certificateTtlMs: 60_000 } });
      await using directory = await freshDirectory();
      const { namespace, identitySecret: name } = account;
      const identity = { home: { secret: { namespace, name } }, caHash: cp.pin };
      const { token } = await cp.token({ kind: "enrolment", agent: "pod" });
      const cluster = { access: { kubeconfig: account.kubeconfig } };
      const start = (more: { token?: string } = {}) =>
        startIdentityAgent({ id: "pod", directory: directory.path, cp, identity, cluster, ...more });
      const read = async (): Promise<Json> => {
        const held = (await (await kube.request("GET", `/api/v1/namespaces/${namespace}/secrets/${name}`)).json()) as Json;
        return (held["data"] ?? {}) as Json;
      };
      {
        await using running = await start({ token });
        await registered(running);
        expect(Object.keys(await read()).toSorted()).toEqual(["certificate.pem", "identity.json", "key.pem", "trust.pem"]);
      }
      const before = await read();
      // Two pods of one agent, as while a Deployment is replaced: they have one identity.
      await using old = await start();
      await registered(old);
      await kube.kubectl(["--namespace", namespace, "label", "secret", name, "team=ships"]);
      await cp.security.trust.reload();
      await using fresh = await start();
      await registered(fresh);
      expect(await read()).toEqual(before);
      expect((await cp.json<{ certificates: unknown[] }>("/v1/identities/pod")).certificates).toHaveLength(1);
    },
  );

  kubeTest("that is not there is made, where the account may; where it may not, the agent says what it lacks", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    await using account = await accountOf(kube, ["--preset", "readOnly"]);
    await using cp = await startSecureCp();
    await using directory = await freshDirectory();
    const secretNamed = { home: { secret: { namespace: space.name, name: "mine" } }, caHash: cp.pin };
    const options = { id: "pod", directory: directory.path, cp, identity: secretNamed };
    const { token } = await cp.token({ kind: "enrolment", agent: "pod" });
    await using denied = await startIdentityAgent({ ...options, token, cluster: { access: { kubeconfig: account.kubeconfig } } });
    expect(await denied.agent.ended).toMatchObject({ code: "FORBIDDEN", message: expect.stringContaining(`${space.name}/mine`) });
    await using running = await startIdentityAgent({ ...options, token, cluster: { access: { kubeconfig: kube.kubeconfigPath } } });
    await registered(running);
    expect(await space.get("secret", "mine")).toMatchObject({ type: "Opaque" });
  });
});

describe("the command", () => {
  test("asks for a preset, and for what belongs to it", async () => {
    const wrong = [
      [],
      ["--preset", "namespaced"],
      ["--preset", "clusterAdmin", "--namespace", "x"],
      ["--preset", "admin"],
      ["--preset", "readOnly", "--namespace", "No Name"],
    ];
    for (const args of wrong) expect((await startCli(["agent", "rbac", ...args]).ended).code).not.toBe(0);
    const { out } = await startCli(["agent", "rbac", "--preset", "readOnly", "--group", "null.example"]).ended;
    const kinds = parseAllDocuments(out).map((document) => (document.toJS() as { kind: string }).kind);
    expect(kinds).toEqual(["Namespace", "ServiceAccount", "Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"]);
  });
});
