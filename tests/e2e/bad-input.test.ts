import { afterAll, expect } from "bun:test";
import type { EventDetail } from "../../src/protocol/mod.ts";
import { freshNamespace, type Namespace, uniqueName } from "../support/kube.ts";
import { compiledKubeTest } from "../support/process.ts";
import { Stack } from "../support/stack.ts";

/** One stack for all of these: nothing here leaves anything behind, which is what they show. */
let shared: Promise<{ stack: Stack; namespace: Namespace }> | undefined;
function start(): Promise<{ stack: Stack; namespace: Namespace }> {
  shared ??= (async () => {
    const namespace = await freshNamespace();
    return { namespace, stack: await Stack.start({ compiled: true, kubeconfig: namespace.kube.kubeconfigPath }) };
  })();
  return shared;
}
afterAll(async () => {
  const started = await shared;
  await started?.stack[Symbol.asyncDispose]();
  await started?.namespace[Symbol.asyncDispose]();
});

const configMap = (namespace: string, name: string, rest = ""): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: ${namespace}\n${rest}`;

interface Story {
  readonly name: string;
  readonly manifests: (namespace: string) => readonly string[];
  readonly code: string;
  readonly says: (namespace: string) => readonly (string | RegExp)[];
}

// A good object comes with each of them: it must not be there afterwards.
const STORIES: readonly Story[] = [
  {
    name: "broken YAML",
    manifests: (ns) => [configMap(ns, "good"), "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n bad indent: [\n"],
    code: "INVALID_MANIFEST",
    says: () => [/line \d+/, /column \d+/],
  },
  {
    name: "an unknown field",
    manifests: (ns) => [
      configMap(ns, "good"),
      `apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ${ns}}\nspec: {ports: [{port: 80}], replicaz: 3}\n`,
    ],
    code: "UNKNOWN_FIELD",
    says: (ns) => [`Service ${ns}/s`, "spec.replicaz"],
  },
  {
    name: "an unknown kind",
    manifests: (ns) => [configMap(ns, "good"), `apiVersion: nope.example/v1\nkind: Nope\nmetadata: {name: thing, namespace: ${ns}}\n`],
    code: "UNKNOWN_KIND",
    says: () => ["Nope", "nope.example/v1"],
  },
  {
    name: "a missing namespace",
    manifests: (ns) => [configMap(ns, "good"), configMap("not-there-at-all", "x")],
    code: "NAMESPACE_NOT_FOUND",
    says: () => ["not-there-at-all"],
  },
  {
    name: "the same object twice",
    manifests: (ns) => [configMap(ns, "good"), configMap(ns, "good")],
    code: "DUPLICATE_OBJECT",
    says: (ns) => [`ConfigMap ${ns}/good`],
  },
  {
    name: "an alias bomb",
    manifests: (ns) => [
      configMap(ns, "good"),
      `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefghij"
        .split("")
        .map(
          (key, index) =>
            `${key}: &${key} [${Array(9)
              .fill(`*${"abcdefghi"[index] ?? "a"}`)
              .join(",")}]`,
        )
        .join("\n")}\n`,
    ],
    code: "INVALID_MANIFEST",
    says: () => [/alias|nodes|large/i],
  },
  {
    name: "a __proto__ key",
    manifests: (ns) => [configMap(ns, "good"), configMap(ns, "x", "data:\n  __proto__: evil\n")],
    code: "INVALID_MANIFEST",
    says: () => ["__proto__"],
  },
  {
    name: "a value of the wrong type",
    manifests: (ns) => [
      configMap(ns, "good"),
      `apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ${ns}}\nspec: {ports: [{port: eighty}]}\n`,
    ],
    code: "INVALID_OBJECT",
    says: (ns) => [`Service ${ns}/s`, "port"],
  },
  {
    name: "an object without a name",
    manifests: (ns) => [configMap(ns, "good"), `apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: ${ns}}\n`],
    code: "INVALID_OBJECT",
    says: () => ["metadata.name"],
  },
];

for (const story of STORIES) {
  compiledKubeTest(`${story.name} is told clearly and leaves nothing behind`, async () => {
    const { stack, namespace } = await start();
    const detail = await stack.carryOut(story.manifests(namespace.name));
    expect(detail.state).toBe("failed");
    expect(detail.result?.error_code).toBe(story.code);
    for (const words of story.says(namespace.name))
      expect(detail.message).toMatch(words instanceof RegExp ? words : new RegExp(words.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")));
    expect(await namespace.get("configmap", "good")).toBeUndefined();
    expect(detail.log.some(({ phase }) => phase === "applying")).toBe(false);
  });
}

compiledKubeTest("a conflict with another manager names it and the field, and --force-conflicts takes it over", async () => {
  const { stack, namespace } = await start();
  const name = uniqueName("owned");
  await namespace.kubectl(
    ["apply", "--server-side", "--field-manager=other-team", "-f", "-"],
    configMap(namespace.name, name, "data: {color: red}\n"),
  );
  const manifest = configMap(namespace.name, name, "data: {color: blue}\n");
  const detail = await stack.carryOut([manifest]);
  expect(detail.result?.error_code).toBe("FIELD_CONFLICT");
  expect(detail.message).toContain("other-team");
  expect(detail.message).toContain("color");
  expect(await namespace.get("configmap", name)).toMatchObject({ data: { color: "red" } });
  expect(await stack.carryOut([manifest], {}, { force_conflicts: true })).toMatchObject({ state: "completed" });
  expect(await namespace.get("configmap", name)).toMatchObject({ data: { color: "blue" } });
});

compiledKubeTest("an immutable field is named", async () => {
  const { stack, namespace } = await start();
  const name = uniqueName("immutable");
  const manifest = (color: string): string => configMap(namespace.name, name, `immutable: true\ndata: {color: ${color}}\n`);
  expect(await stack.carryOut([manifest("red")])).toMatchObject({ state: "completed" });
  const detail = await stack.carryOut([manifest("blue")]);
  expect(detail.result?.error_code).toBe("IMMUTABLE_FIELD");
  expect(detail.message).toContain(`ConfigMap ${namespace.name}/${name}`);
  expect(detail.message).toMatch(/immutable/);
});

compiledKubeTest("what RBAC forbids the agent is named with verb and resource", async () => {
  const { namespace } = await start();
  const kubeconfig = await namespace.kubeconfigWith([
    { apiGroups: [""], resources: ["configmaps"], verbs: ["get", "list", "create", "patch"] },
  ]);
  await using stack = await Stack.start({ compiled: true, kubeconfig });
  const allowed: EventDetail = await stack.carryOut([configMap(namespace.name, uniqueName("allowed"))]);
  expect(allowed).toMatchObject({ state: "completed" });
  const name = uniqueName("forbidden");
  const detail = await stack.carryOut([
    configMap(namespace.name, name),
    `apiVersion: v1\nkind: Secret\nmetadata: {name: ${name}, namespace: ${namespace.name}}\n`,
  ]);
  expect(detail.result?.error_code).toBe("FORBIDDEN");
  expect(detail.message).toContain(`Secret ${namespace.name}/${name}`);
  expect(detail.message).toMatch(/secrets/);
  expect(await namespace.get("configmap", name)).toBeUndefined();
});
