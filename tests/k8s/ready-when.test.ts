import { describe, expect, test } from "bun:test";
import { systemPorts } from "../../src/kit/mod.ts";
import { planObjects, readyRules, verifyPlan, verifyTargets } from "../../src/k8s/mod.ts";
import { Expressions } from "../../src/k8s/ready/expressions.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { clientOf, configMap, deployment, parsed, refusal, walk } from "./walk.ts";

const { timers } = systemPorts;

describe("rules of an event", () => {
  test("that cannot be used are refused with their place", async () => {
    const broken = await refusal(
      readyRules(timers, [{ ready: "true" }, { kind: "Cluster", ready: "true", failed: "self.status.phase ==" }]),
    );
    expect(broken.code).toBe("INVALID_EXPRESSION");
    expect(broken.message).toBe('payload.ready_when[1].failed "self.status.phase ==": Unexpected token: EOF');
    const wrong = await refusal(readyRules(timers, [{ ready: "status.phase == 'Ready'" }]));
    expect(wrong.message).toBe("payload.ready_when[0].ready \"status.phase == 'Ready'\": Unknown variable: status");
    const many = await refusal(
      readyRules(
        timers,
        Array.from({ length: 201 }, () => ({ ready: "true" })),
      ),
    );
    expect(many.message).toBe("payload.ready_when has 201 expressions, and 200 are the most");
    expect(await readyRules(timers, [])).toBeUndefined();
  });

  test("an expression that takes too long is stopped, and the next one is answered", async () => {
    const expressions = new Expressions({ timers, limitMs: 300 });
    // 12 nested searches of 30 each never end.
    const names = Array.from({ length: 12 }, (_, index) => `v${index}`);
    const slow = names.reduceRight((inner, name) => `self.list.all(${name}, ${inner})`, "true");
    expect(await expressions.check([slow])).toEqual([undefined]);
    const list = Array.from({ length: 30 }, (_, index) => index);
    const error = await refusal(expressions.judge([slow], { list }));
    expect(error.code).toBe("INVALID_EXPRESSION");
    expect(error.message).toContain("took longer than 0.3 s and was stopped");
    // A pattern that goes back over itself without end, too.
    const pattern = await refusal(expressions.judge(["self.text.matches('^(a+)+$')"], { text: `${"a".repeat(60)}!` }));
    expect(pattern.code).toBe("INVALID_EXPRESSION");
    const [first, second] = await Promise.all([
      expressions.judge(["self.a == 1"], { a: 1 }),
      expressions.judge(["self.a == 1", "self.b"], { a: 2 }),
    ]);
    expect(first).toEqual([{ kind: "true" }]);
    expect(second).toEqual([{ kind: "false" }, { kind: "unknown", why: "No such key: b" }]);
  });
});

describe("readiness by expressions", () => {
  kubeTest("takes the place of the kind's own, watches kinds that are ready by being stored, and names what is not so", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const objects = parsed(configMap("switch", { state: "off" }), configMap("other", { state: "off" }));
    const { plan, outcomes } = await walk(client, objects, { defaultNamespace: namespace.name });
    const rules = await readyRules(timers, [{ kind: "ConfigMap", name: "switch", ready: "self.data.state == 'on'" }]);
    const late = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 1_000, rules }));
    expect(late.code).toBe("VERIFY_TIMEOUT");
    expect(late.message).toBe(`not ready after 1 s: ConfigMap ${namespace.name}/switch: not yet so: self.data.state == 'on'`);
    const waiting: string[] = [];
    const verified = verifyPlan(client, plan, outcomes, { timeoutMs: 50_000, rules, onWaiting: (text) => waiting.push(text) });
    await eventually(() => waiting.length > 0, { timeoutMs: 30_000 });
    await namespace.kubectl(["patch", "configmap", "switch", "--type=merge", "--patch", '{"data":{"state":"on"}}']);
    await verified;
  });

  kubeTest("says what is missing, and fails at once when told so", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const { plan, outcomes } = await walk(client, parsed(configMap("job", { state: "broken" })), { defaultNamespace: namespace.name });
    const missing = await readyRules(timers, [{ ready: "self.status.ready" }]);
    const late = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 1_000, rules: missing }));
    expect(late.message).toContain("cannot be told yet (No such key: status): self.status.ready");
    const doomed = await readyRules(timers, [{ ready: "self.data.state == 'done'", failed: "self.data.state == 'broken'" }]);
    const failure = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 50_000, rules: doomed }));
    expect(failure.code).toBe("VERIFY_FAILED");
    expect(failure.message).toBe(
      `ConfigMap ${namespace.name}/job: it has failed by payload.ready_when[0].failed: self.data.state == 'broken'`,
    );
    const odd = await readyRules(timers, [{ ready: "self.data.state" }]);
    const unusable = await refusal(verifyPlan(client, plan, outcomes, { timeoutMs: 50_000, rules: odd }));
    expect(unusable.code).toBe("INVALID_EXPRESSION");
    expect(unusable.message).toBe('payload.ready_when[0].ready "self.data.state": it gave string, and has to be true or false');
  });

  kubeTest("can ask more of a Deployment than Kubernetes does, and targets are enough", async () => {
    await using namespace = await freshNamespace();
    const client = await clientOf(namespace.kube);
    const objects = parsed(deployment("web", "none", {}, 2));
    const { plan } = await walk(client, objects, { defaultNamespace: namespace.name });
    const rules = await readyRules(timers, [{ api_version: "apps/v1", kind: "Deployment", ready: "self.status.readyReplicas == 2" }]);
    const [target] = (await planObjects(client, objects, { defaultNamespace: namespace.name })).objects;
    if (target === undefined) throw new Error("no target");
    expect(rules?.concerns(target)).toBe(true);
    expect(rules?.idle(plan.objects)).toEqual([]);
    await verifyTargets(client, [{ target, generation: undefined }], { timeoutMs: 50_000, rules });
    const others = await readyRules(timers, [{ kind: "Deploymnet", name: "web", ready: "true" }]);
    expect(others?.idle(plan.objects)).toEqual(["payload.ready_when[0] (Deploymnet web)"]);
  });
});
