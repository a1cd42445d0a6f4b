import { expect } from "bun:test";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { agree, diff } from "./kubectl-diff.ts";
import { clientOf, configMap, deployment, parsed, walk } from "./walk.ts";

const secret = (name: string, data: Record<string, string>): KubeObject => ({
  apiVersion: "v1",
  kind: "Secret",
  metadata: { name },
  data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, btoa(value)])),
});

kubeTest(
  "a diff says of new, changed and unchanged objects what kubectl diff says, text for text",
  async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    const before = [
      configMap("same", { a: "1" }),
      configMap("changed", { gone: "x", kept: "line one\nline two\nline three\n", number: "0644", long: "word ".repeat(60).trim() }),
      deployment("web", "images.invalid/web:1", {}, 2),
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "web" },
        spec: { selector: { app: "web" }, ports: [{ name: "http", port: 80 }] },
      },
      secret("keys", { same: "it stays", changed: "old one", gone: "not needed" }),
    ];
    await walk(client, parsed(...before), { defaultNamespace: space.name });
    expect(await agree(client, space, before)).toBe("");
    const told = await agree(client, space, [
      configMap("same", { a: "1" }),
      configMap("changed", { kept: "line one\nline 2\nline three\n", number: "0644", long: `${"word ".repeat(60)}end`, tab: "a\tb" }),
      deployment("web", "images.invalid/web:2", { tier: "front" }, 3),
      {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "web", labels: { team: "web" } },
        spec: {
          selector: { app: "web" },
          ports: [
            { name: "http", port: 80 },
            { name: "https", port: 443 },
          ],
        },
      },
      secret("keys", { same: "it stays", changed: "new one", added: "now needed" }),
      configMap("new", { a: "1", script: "#!/bin/sh\necho hello\n" }),
      secret("new-keys", { one: "hush" }),
    ]);
    expect(told).toContain("-  gone: x\n");
    expect(told).toContain("-  changed: '*** (before)'\n");
    expect(told).toContain("+  changed: '*** (after)'\n");
    for (const value of ["it stays", "old one", "new one", "hush"]) expect(told).not.toContain(btoa(value));
  },
  120_000,
);

kubeTest("a diff changes nothing, and an apply does what it said", async () => {
  await using space = await freshNamespace();
  const client = await clientOf(space.kube);
  await walk(client, parsed(configMap("a", { x: "1", y: "2" })), { defaultNamespace: space.name });
  const live = await space.get("configmap", "a");
  const wanted = [configMap("a", { x: "1", z: "3" }), configMap("b", {})];
  const told = await diff(client, space, wanted);
  expect(told.map(({ would }) => would)).toEqual(["update", "create"]);
  expect(await space.get("configmap", "a")).toEqual(live);
  expect(await space.get("configmap", "b")).toBeUndefined();
  await walk(client, parsed(...wanted), { defaultNamespace: space.name });
  expect((await diff(client, space, wanted)).map(({ would }) => would)).toEqual(["unchanged", "unchanged"]);
});

kubeTest(
  "of what client-side apply, or a 0.1 agent, has made, a diff shows what will go, and leaves who manages it as it is",
  async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    const made = {
      ...deployment("old", "images.invalid/old:1", { tier: "x" }, 2),
      metadata: { name: "old", labels: { gone: "soon", kept: "yes" } },
    };
    const { replicas: _unsaid, ...spec } = deployment("old", "images.invalid/old:2", {}, 2)["spec"] as Record<string, unknown>;
    const wanted: KubeObject = { ...made, metadata: { name: "old", labels: { kept: "yes" } }, spec };
    await space.kubectl(["apply", "--filename=-"], JSON.stringify(made));
    await space.kubectl(
      ["create", "--field-manager=transporter", "--filename=-"],
      JSON.stringify(configMap("ours", { gone: "1", kept: "2" })),
    );
    const objects = [wanted, configMap("ours", { kept: "2", added: "3" })];
    const [web, ours] = await diff(client, space, objects);
    expect(web?.would).toBe("update");
    expect(web?.text).toContain("-    gone: soon\n");
    expect(web?.text).toContain("-        tier: x\n");
    // Nobody says how many any more, so there is one, as the API server has it by default.
    expect(web?.text).toContain("-  replicas: 2\n+  replicas: 1\n");
    expect(ours?.text).toContain('-  gone: "1"\n');
    expect(await space.kubectl(["get", "deployment/old", "--output=json", "--show-managed-fields"])).toContain("kubectl-client-side-apply");
    await walk(client, parsed(...objects), { defaultNamespace: space.name });
    const now = (await space.get("deployment", "old")) as { spec: { replicas: number }; metadata: { labels: unknown } } | undefined;
    expect([now?.spec.replicas, now?.metadata.labels]).toEqual([1, { kept: "yes" }]);
    expect((await diff(client, space, objects)).map(({ would, text }) => [would, text])).toEqual([
      ["unchanged", ""],
      ["unchanged", ""],
    ]);
  },
  120_000,
);

kubeTest(
  "what cannot be shown is said: conflicts, what is invalid, immutable fields; the others are shown all the same",
  async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    await space.kubectl(
      ["apply", "--server-side", "--field-manager=somebody", "--filename=-"],
      JSON.stringify(configMap("taken", { a: "1" })),
    );
    await walk(client, parsed(deployment("stuck", "images.invalid/x:1")), { defaultNamespace: space.name });
    const other = deployment("stuck", "images.invalid/x:1");
    (other["spec"] as { selector: unknown }).selector = { matchLabels: { app: "stuck", tier: "x" } };
    (other["spec"] as { template: { metadata: unknown } }).template.metadata = { labels: { app: "stuck", tier: "x" } };
    const invalid = { ...configMap("wrong", {}), dada: { a: "1" } };
    const objects = [configMap("taken", { a: "2" }), invalid, other, configMap("fine", { a: "1" })];
    const told = await diff(client, space, objects);
    expect(told.map(({ would }) => would)).toEqual(["refused", "refused", "refused", "create"]);
    expect(told[0]?.text).toMatch(/^FIELD_CONFLICT ConfigMap \S+\/taken: \.data\.a belongs to field manager "somebody"/);
    expect(told[1]?.text).toMatch(/^UNKNOWN_FIELD .*dada/);
    expect(told[2]?.text).toMatch(/^IMMUTABLE_FIELD .*selector/);
    const forced = await diff(client, space, [configMap("taken", { a: "2" }), other], { forceConflicts: true, onImmutable: "recreate" });
    expect(forced.map(({ would }) => would)).toEqual(["update", "recreate"]);
    expect(forced[0]?.text).toContain('-  a: "1"\n+  a: "2"\n');
    expect(forced[1]?.text).toContain("+      tier: x\n");
    expect(forced[1]?.text).not.toContain("uid");
  },
  120_000,
);

kubeTest("fields that are left to others are in no diff, and a namespace of the event does not hide what goes into it", async () => {
  await using space = await freshNamespace();
  const client = await clientOf(space.kube);
  await walk(client, parsed(deployment("scaled", "images.invalid/x:1", {}, 1)), { defaultNamespace: space.name });
  await space.kubectl(["scale", "deployment/scaled", "--replicas=4"]);
  const wanted = deployment("scaled", "images.invalid/x:2", {}, 1);
  const [told] = await diff(client, space, [wanted], { ignoreFields: [{ kind: "Deployment", pointers: ["/spec/replicas"] }] });
  expect(told?.text).toContain("images.invalid/x:2");
  expect(told?.text).not.toContain("replicas");
  const name = `${space.name}-new`;
  const [space2, inside] = await diff(client, space, [
    { apiVersion: "v1", kind: "Namespace", metadata: { name } },
    configMap("inside", { a: "1" }, name),
  ]);
  expect([space2?.would, inside?.would]).toEqual(["create", "deferred"]);
  expect(inside?.text).toBe(
    `--- LIVE/v1.ConfigMap.${name}.inside\n+++ MERGED/v1.ConfigMap.${name}.inside\n@@ -0,0 +1,7 @@\n+apiVersion: v1\n+data:\n+  a: "1"\n+kind: ConfigMap\n+metadata:\n+  name: inside\n+  namespace: ${name}\n`,
  );
});
