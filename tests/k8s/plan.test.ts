import { describe, expect, test } from "bun:test";
import {
  applyPlan,
  diffPlan,
  type KubeClient,
  PlanGuard,
  planObjects,
  planOf,
  type ResourceOutcome,
  validatePlan,
} from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { comparePlan, planToken } from "../../src/k8s/diff/plan-token.ts";
import { freshNamespace, kubeTest, type Namespace } from "../support/kube.ts";
import { eventually } from "../support/eventually.ts";
import { APPLY, clientOf, configMap, deployment, parsed, refusal, walk } from "./walk.ts";

type Options = typeof APPLY;

/** What a diff answers. */
async function look(client: KubeClient, space: Namespace, objects: readonly KubeObject[], options: Options = APPLY): Promise<string> {
  const plan = await planObjects(client, parsed(...objects), { defaultNamespace: space.name });
  const token = planOf(plan, await diffPlan(client, plan, options), options);
  if (token === undefined) throw new Error("no plan");
  return token;
}

/** An apply that names a plan; `between` comes after all that is checked before the first write. */
async function applyBy(
  client: KubeClient,
  space: Namespace,
  token: string,
  objects: readonly KubeObject[],
  between: () => Promise<unknown> = () => Promise.resolve(),
  options: Options = APPLY,
): Promise<ResourceOutcome[]> {
  const plan = await planObjects(client, parsed(...objects), { defaultNamespace: space.name });
  const guard = new PlanGuard(client, token, options);
  await guard.check(plan);
  const validation = await validatePlan(client, plan, options);
  await between();
  return applyPlan(client, plan, validation, { ...options, guard });
}

const told = (outcomes: readonly ResourceOutcome[]): string[] => outcomes.map(({ status, error }) => error?.code ?? status);

kubeTest("an apply does what its plan saw, once, and the same plan is over then", async () => {
  await using space = await freshNamespace();
  const client = await clientOf(space.kube);
  await walk(client, parsed(configMap("a", { x: "1" }), configMap("same", {})), { defaultNamespace: space.name });
  const objects = [configMap("a", { x: "2" }), configMap("b", { y: "1" }), configMap("same", {})];
  const token = await look(client, space, objects);
  expect(token).toMatch(/^p1-[A-Za-z0-9_-]{30,60}$/);
  expect(await look(client, space, objects)).toBe(token);
  expect(told(await applyBy(client, space, token, objects))).toEqual(["updated", "created", "unchanged"]);
  const error = await refusal(applyBy(client, space, token, objects));
  expect(error.code).toBe("PLAN_STALE");
  expect(error.message).toBe(`the cluster has moved since the plan: ConfigMap ${space.name}/a, ConfigMap ${space.name}/b`);
});

kubeTest("a plan is refused where object, manifest or treatment are others by now, and says which", async () => {
  await using space = await freshNamespace();
  const client = await clientOf(space.kube);
  await walk(client, parsed(configMap("a", { x: "1" }), configMap("b", { x: "1" })), { defaultNamespace: space.name });
  const objects = [configMap("a", { x: "2" }), configMap("b", { x: "2" })];
  const token = await look(client, space, objects);
  const refused = async (...args: Parameters<typeof applyBy>): Promise<string> => (await refusal(applyBy(...args))).message;
  const others = /^the plan stands for other manifests, or for another treatment of them/;
  expect(await refused(client, space, token, [configMap("a", { x: "3" }), configMap("b", { x: "2" })])).toMatch(others);
  expect(await refused(client, space, token, objects.slice(0, 1))).toMatch(others);
  expect(await refused(client, space, token, objects, undefined, { ...APPLY, forceConflicts: true })).toMatch(others);
  expect(await refused(client, space, token.slice(0, 20), objects)).toBe("payload.plan is not a plan that this agent can read");
  expect(await refused(client, space, "anything", objects)).toBe("payload.plan is not a plan that this agent can read");
  await space.kubectl(["label", "configmap/b", "who=somebody"]);
  expect(await refused(client, space, token, objects)).toBe(`the cluster has moved since the plan: ConfigMap ${space.name}/b`);
  expect(await space.get("configmap", "a")).toMatchObject({ data: { x: "1" } });
});

kubeTest("what moves at the last moment is not written over: changed, made, deleted or made anew by somebody else", async () => {
  await using space = await freshNamespace();
  const client = await clientOf(space.kube);
  const before = ["changed", "deleted", "anew", "quiet"].map((name) => configMap(name, { x: "1" }));
  await walk(client, parsed(...before), { defaultNamespace: space.name });
  const objects = [...before.map((one) => ({ ...one, data: { x: "2" } })), configMap("made", { x: "2" })];
  const token = await look(client, space, objects);
  const outcomes = await applyBy(client, space, token, objects, async () => {
    await space.kubectl(["patch", "configmap/changed", "--patch", '{"data":{"y":"theirs"}}']);
    await space.kubectl(["delete", "configmap/deleted", "configmap/anew"]);
    await space.kubectl(["create", "configmap", "anew", "--from-literal=x=theirs"]);
    await space.kubectl(["create", "configmap", "made", "--from-literal=x=theirs"]);
  });
  expect(told(outcomes)).toEqual(["PLAN_STALE", "PLAN_STALE", "PLAN_STALE", "updated", "PLAN_STALE"]);
  expect(outcomes[0]?.message).toBe(`the cluster has moved since the plan, at the last moment: ConfigMap ${space.name}/changed`);
  expect(await space.get("configmap", "changed")).toMatchObject({ data: { x: "1", y: "theirs" } });
  expect(await space.get("configmap", "deleted")).toBeUndefined();
  for (const name of ["anew", "made"]) expect(await space.get("configmap", name)).toMatchObject({ data: { x: "theirs" } });
});

kubeTest(
  "what controllers keep about an object does not matter to a plan, before it and at the last moment; nor does what is left to others",
  async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    await walk(client, parsed(deployment("web", "images.invalid/web:1", {}, 1)), { defaultNamespace: space.name });
    const options: Options = { ...APPLY, ignoreFields: [{ kind: "Deployment", pointers: ["/spec/replicas"] }] };
    const objects = [deployment("web", "images.invalid/web:2", {}, 1)];
    const token = await look(client, space, objects, options);
    const version = async (): Promise<unknown> =>
      ((await space.get("deployment", "web"))?.["metadata"] as Record<string, unknown> | undefined)?.["resourceVersion"];
    await eventually(async () => {
      const text = await space.kubectl(["get", "deployment/web", "--output=jsonpath={.metadata.annotations}"]);
      return text.includes('"deployment.kubernetes.io/revision":"1"');
    });
    await space.kubectl(["scale", "deployment/web", "--replicas=3"]);
    const outcomes = await applyBy(
      client,
      space,
      token,
      objects,
      async () => {
        const seen = await version();
        await space.kubectl([
          "patch",
          "deployment/web",
          "--subresource=status",
          "--type=merge",
          "--patch",
          '{"status":{"collisionCount":7}}',
        ]);
        await space.kubectl(["scale", "deployment/web", "--replicas=2"]);
        expect(await version()).not.toBe(seen);
      },
      options,
    );
    expect(told(outcomes)).toEqual(["updated"]);
    expect(await space.get("deployment", "web")).toMatchObject({
      spec: { replicas: 2, template: { spec: { containers: [{ image: "images.invalid/web:2" }] } } },
    });
  },
  120_000,
);

kubeTest(
  "a plan covers what client-side apply has made, and what has to be made anew",
  async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    await space.kubectl(["apply", "--filename=-"], JSON.stringify(configMap("old", { gone: "1", kept: "1" })));
    await walk(client, parsed(deployment("stuck", "images.invalid/x:1")), { defaultNamespace: space.name });
    const other = JSON.parse(
      JSON.stringify(deployment("stuck", "images.invalid/x:1")).replaceAll('"app":"stuck"', '"app":"other"'),
    ) as KubeObject;
    const objects = [configMap("old", { kept: "2" }), other];
    const options: Options = { ...APPLY, onImmutable: "recreate" };
    const token = await look(client, space, objects, options);
    expect(told(await applyBy(client, space, token, objects, undefined, options))).toEqual(["updated", "recreated"]);
    expect(await space.get("configmap", "old")).toMatchObject({ data: { kept: "2" } });
    const again = await look(client, space, objects, options);
    const moved = await applyBy(client, space, again, [...objects], () => space.kubectl(["label", "deployment/stuck", "a=b"]), options);
    // Nothing is left to be written, so nobody is in the way.
    expect(told(moved)).toEqual(["unchanged", "unchanged"]);
  },
  120_000,
);

kubeTest("after a restart of the agent a plan is kept to as well: what the first half of the event wrote is no move", async () => {
  await using space = await freshNamespace();
  const client = await clientOf(space.kube);
  await walk(client, parsed(configMap("a", { x: "1" }), configMap("b", { x: "1" })), { defaultNamespace: space.name });
  const objects = [configMap("a", { x: "2" }), configMap("b", { x: "2" }), configMap("c", { x: "2" })];
  const token = await look(client, space, objects);
  const plan = await planObjects(client, parsed(...objects), { defaultNamespace: space.name });
  const first = new PlanGuard(client, token, APPLY);
  await first.check(plan);
  await walk(client, parsed(...objects.slice(0, 1)), { defaultNamespace: space.name });
  const second = new PlanGuard(client, token, APPLY, first.prints);
  await second.check(plan);
  const outcomes = await applyPlan(client, plan, await validatePlan(client, plan, APPLY), { ...APPLY, guard: second });
  expect(told(outcomes)).toEqual(["unchanged", "updated", "created"]);
  await space.kubectl(["patch", "configmap/b", "--patch", '{"data":{"x":"theirs"}}']);
  const error = await refusal(new PlanGuard(client, token, APPLY, first.prints).check(plan));
  expect(error.code).toBe("PLAN_STALE");
  expect(error.message).toMatch(/^the cluster has moved since the plan; the agent was restarted in the middle, .*: ConfigMap \S+\/b$/);
});

describe("the token", () => {
  const sight = (count: number, changed: readonly number[] = []): Parameters<typeof planToken>[0] => ({
    wanted: Array.from({ length: count }, (_one, at) => `manifest ${at}`),
    prints: Array.from({ length: count }, (_one, at) => `print ${at}${changed.includes(at) ? " changed" : ""}`),
  });

  test("stays short enough for a command line, and names the objects that moved, or their neighbours", () => {
    expect(planToken(sight(1))).toHaveLength(3 + 35);
    expect(planToken(sight(10_000)).length).toBeLessThan(220);
    expect(comparePlan(planToken(sight(5)), sight(5))).toEqual({ kind: "holds" });
    expect(comparePlan(planToken(sight(5)), sight(5, [1, 3]))).toEqual({ kind: "moved", objects: [1, 3], exactly: true });
    const among = comparePlan(planToken(sight(1000)), sight(1000, [500]));
    expect(among.kind).toBe("moved");
    if (among.kind !== "moved") return;
    expect(among.exactly).toBe(false);
    expect(among.objects).toContain(500);
    expect(among.objects.length).toBeLessThanOrEqual(16);
  });

  test("what is cut off or made up is no plan", () => {
    const token = planToken(sight(3));
    for (const text of ["", "p1-", "p2-abc", token.slice(0, 30), "p1-\u0000"]) expect(comparePlan(text, sight(3)).kind).toBe("unreadable");
    expect(comparePlan(`p1-${"A".repeat(60)}`, sight(3)).kind).toBe("other-manifests");
  });
});
