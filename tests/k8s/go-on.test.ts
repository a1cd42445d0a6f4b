import { describe, expect } from "bun:test";
import { applyPlan, planObjects, type ResourceOutcome, validatePlan } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, uniqueName } from "../support/kube.ts";
import { annotated, dependingOn, gated, inWave } from "./gate.ts";
import { APPLY, clientOf, configMap, deployment, parsed } from "./walk.ts";

/** `created a` or `pending b: not tried, because …`, in the event's order; what was refused while planning comes last. */
async function goOn(
  space: Namespace,
  objects: readonly KubeObject[],
  between?: () => Promise<unknown>,
  timeoutMs = 60_000,
): Promise<string[]> {
  const client = await clientOf(space.kube);
  const plan = await planObjects(client, parsed(...objects), { defaultNamespace: space.name, goOn: true });
  const validation = await validatePlan(client, plan, { ...APPLY, goOn: true });
  await between?.();
  const told: ResourceOutcome[] = [];
  const outcomes = await applyPlan(client, plan, validation, {
    ...APPLY,
    goOn: true,
    readyTimeoutMs: timeoutMs,
    onResource: (one) => told.push(one),
  });
  // Each was told, and at the end as it is returned.
  const last = new Map(told.map((outcome) => [outcome.planned, outcome]));
  expect(outcomes.map(({ planned }) => last.get(planned))).toEqual([...outcomes]);
  const { name } = space;
  const texts = outcomes.map(({ status, ref, message, error }) => {
    const text = status === "failed" ? (error?.code ?? "") : message.replaceAll(`${name}/`, "").replaceAll(name, "NS");
    return `${status} ${ref.name}${text === "" ? "" : `: ${text}`}`;
  });
  return [...texts, ...plan.refused.map(({ ref, error }) => `refused ${ref.name}: ${error.code}`)];
}

const wrong = (name: string): KubeObject => ({ ...configMap(name, {}), dota: {} });

describe("going on past what fails", () => {
  kubeTest("all is applied but what leans on it, through however many, and each says because of what", async () => {
    await using space = await freshNamespace();
    const on = (name: string): string => `/namespaces/${space.name}/ConfigMap/${name}`;
    const told = await goOn(space, [
      wrong("bad"),
      configMap("good", {}),
      dependingOn(configMap("needs-bad", {}), on("bad")),
      dependingOn(deployment("needs-that", "none", {}, 0), on("needs-bad")),
      dependingOn(configMap("needs-good", {}), on("good")),
      deployment("stranger", "none", {}, 0),
    ]);
    expect(told).toEqual([
      "failed bad: UNKNOWN_FIELD",
      "created good",
      "pending needs-bad: not tried, because ConfigMap bad, which it depends on, failed",
      "pending needs-that: not tried, because ConfigMap needs-bad, which it depends on, was not tried",
      "created needs-good",
      "created stranger",
    ]);
  });

  kubeTest("what is refused only when it is applied holds up no later stage", async () => {
    await using space = await freshNamespace();
    const theirs = JSON.stringify({ ...configMap("taken", { v: "theirs" }), immutable: true });
    const told = await goOn(space, [configMap("taken", { v: "1" }), configMap("free", {}), deployment("web", "none", {}, 0)], () =>
      space.kubectl(["apply", "--server-side", "--field-manager=rival", "-f", "-"], theirs),
    );
    expect(told).toEqual(["failed taken: FIELD_CONFLICT", "created free", "created web"]);
  });

  kubeTest("a later wave leans on the whole of the one before", async () => {
    await using space = await freshNamespace();
    const told = await goOn(space, [
      inWave(wrong("bad"), 1),
      configMap("early", {}),
      inWave(configMap("beside", {}), 1),
      inWave(configMap("late", {}), 2),
    ]);
    expect(told).toEqual([
      "failed bad: UNKNOWN_FIELD",
      "created early",
      "created beside",
      "pending late: not tried, because ConfigMap bad of wave 1 failed",
    ]);
  });

  kubeTest("what does not get ready holds up who waits for it, and nobody who waits for others", async () => {
    await using space = await freshNamespace();
    const stuck = deployment("stuck", "registry.invalid/none:9.9", { "transporter.dev/image-error": "true" });
    (stuck["spec"] as Record<string, unknown>)["progressDeadlineSeconds"] = 1;
    const gate = await gated(space, "slow");
    const on = (name: string): string => `apps/namespaces/${space.name}/Deployment/${name}`;
    const ended = goOn(space, [
      stuck,
      gate.deployment,
      dependingOn(configMap("a", {}), on("stuck")),
      dependingOn(configMap("b", {}), on("slow")),
    ]);
    ended.catch(() => undefined);
    // Only when the one has failed for good is the other let through.
    const condition = "--output=jsonpath={.items[?(@.metadata.name=='stuck')].status.conditions[?(@.type=='Progressing')].status}";
    await eventually(async () => (await space.kubectl(["get", "deployments", condition])) === "False", {
      timeoutMs: 50_000,
      what: "the end of its deadline",
    });
    await gate.open();
    const told = await ended;
    expect(told[0]).toStartWith("created stuck: not ready: ");
    expect(told.slice(1)).toEqual([
      "created slow",
      "pending a: not tried, because Deployment stuck, which it depends on, is not ready",
      "created b",
    ]);
  });

  kubeTest("what cannot even be planned is put apart, and only what leans on it is left", async () => {
    await using space = await freshNamespace();
    const missing = uniqueName("missing");
    const told = await goOn(space, [
      { apiVersion: "example.invalid/v1", kind: "Nothing", metadata: { name: "none" } },
      configMap("homeless", {}, missing),
      dependingOn(configMap("needs-homeless", {}), `/namespaces/${missing}/ConfigMap/homeless`),
      dependingOn(configMap("needs-nothing", {}), `/namespaces/${space.name}/Secret/none`),
      annotated(configMap("fine", {}), {}),
    ]);
    expect(told).toEqual([
      `pending needs-homeless: not tried, because ConfigMap ${missing}/homeless, which it depends on, failed`,
      "created fine",
      "refused none: UNKNOWN_KIND",
      "refused homeless: NAMESPACE_NOT_FOUND",
      "refused needs-nothing: DEPENDENCY_NOT_FOUND",
    ]);
  });

  kubeTest("a namespace that is refused takes what is in it along, and nothing else", async () => {
    await using space = await freshNamespace();
    const name = uniqueName("brought");
    const space2 = { apiVersion: "v1", kind: "Namespace", metadata: { name }, specs: {} };
    const told = await goOn(space, [space2, configMap("inside", {}, name), configMap("outside", {})]);
    expect(told).toEqual([
      `failed ${name}: UNKNOWN_FIELD`,
      `pending inside: not tried, because Namespace ${name}, which it is in, failed`,
      "created outside",
    ]);
  });
});
