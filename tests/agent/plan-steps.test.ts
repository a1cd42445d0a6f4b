import { expect } from "bun:test";
import type { ResourceSteps, StepContext } from "../../src/agent/mod.ts";
import { kubeSteps } from "../../src/agent/steps/kube-steps.ts";
import type { KubeClient } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { OPERATION_DEFAULTS, type OperationOptions } from "../../src/protocol/mod.ts";
import { clientOf, configMap, parsed, refusal } from "../k8s/walk.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";

/** What one event remembers in the ledger of an agent with a disk. */
function keeping(): StepContext["keep"] {
  const texts = new Map<string, string>();
  return {
    lasting: true,
    set: (name, text) => Promise.resolve(void texts.set(name, text)),
    get: (name) => Promise.resolve(texts.get(name)),
  };
}

function stepsOf(
  client: KubeClient,
  namespace: string,
  objects: readonly KubeObject[],
  more: Partial<OperationOptions>,
  keep = keeping(),
): ResourceSteps {
  const { signal } = new AbortController();
  return kubeSteps(client, { defaultNamespace: namespace, fieldManager: "transporter" })(parsed(...objects), {
    signal,
    halt: signal,
    forceConflicts: false,
    verifyTimeoutMs: 30_000,
    options: { ...OPERATION_DEFAULTS, ...more },
    resumed: false,
    keep,
    progress: () => undefined,
    note: () => undefined,
  });
}

kubeTest("an event keeps to its plan over further attempts, and over a restart of the agent", async () => {
  await using space = await freshNamespace();
  const client = await clientOf(space.kube);
  const [one, two] = [configMap("one", { x: "1" }), configMap("two", { x: "1" })];
  const looking = stepsOf(client, space.name, [one, two], { operation: "diff" });
  await looking.validate();
  const found = looking.found?.();
  expect(found?.message).toBe("2 of 2 objects would be changed; nothing was changed");
  expect(await space.get("configmap", "one")).toBeUndefined();
  const keep = keeping();
  const plan = found?.plan;
  const first = stepsOf(client, space.name, [one, two], { plan }, keep);
  await first.validate();
  await first.apply();
  // Another attempt begins with validation: what the first has written is there now, and was not when the plan was made.
  await first.validate();
  // The process ends, and another one takes the event up.
  const second = stepsOf(client, space.name, [one, two], { plan }, keep);
  await second.validate();
  await second.apply();
  expect(second.resources().map(({ status }) => status)).toEqual(["unchanged", "unchanged"]);
  // An agent that remembers nothing of it cannot tell the event's own writing from another's.
  const forgetful = stepsOf(client, space.name, [one, two], { plan });
  expect((await refusal(forgetful.validate())).code).toBe("PLAN_STALE");
  expect(forgetful.resources()).toMatchObject([
    { name: "one", status: "failed" },
    { name: "two", status: "failed" },
  ]);
});
