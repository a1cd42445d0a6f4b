import { describe, expect } from "bun:test";
import { planObjects, verifyPlan } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { type CalledService, calledService, reviewOf } from "../support/called-service.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, uniqueName } from "../support/kube.ts";
import { type Gate, gated } from "./gate.ts";
import { clientOf, configMap, parsed, refusal, walk } from "./walk.ts";

function uniqueGroup(): string {
  return `${uniqueName("g")}.example.org`;
}

function schema(name: string, storage: boolean): Readonly<Record<string, unknown>> {
  return { name, served: true, storage, schema: { openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true } } };
}

function definition(group: string, versions: readonly unknown[], conversion?: unknown): KubeObject {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `widgets.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind: "Widget", plural: "widgets", singular: "widget" },
      versions,
      ...(conversion === undefined ? {} : { conversion }),
    },
  };
}

function widget(group: string, space: Namespace, version = "v1"): KubeObject {
  return { apiVersion: `${group}/${version}`, kind: "Widget", metadata: { name: "one", namespace: space.name } };
}

/** A Deployment behind the service, which gets ready when its gate is opened. */
async function behind(space: Namespace, service: CalledService): Promise<Gate> {
  return gated(space, service.name);
}

/** Walks; when the Deployment is waited for, looks, then opens the gate and lets the service answer. */
async function walkThrough(
  space: Namespace,
  objects: readonly KubeObject[],
  gate: Gate,
  service: CalledService,
  look: () => Promise<void>,
): Promise<readonly string[]> {
  const client = await clientOf(space.kube);
  const waiting: string[] = [];
  const carryOut = async (): Promise<readonly string[]> => {
    const onWaiting = (text: string): number => waiting.push(text);
    const { plan, outcomes, told } = await walk(client, parsed(...objects), {
      defaultNamespace: space.name,
      readyTimeoutMs: 60_000,
      onWaiting,
    });
    await verifyPlan(client, plan, outcomes, { timeoutMs: 60_000 });
    return told;
  };
  const ended = carryOut();
  ended.catch(() => undefined);
  // On a busy machine the definition may be waited for first.
  const word = `waiting for Deployment ${space.name}/${service.name}: `;
  await eventually(() => waiting.some((text) => text.startsWith(word)), { what: "word of what is waited for", timeoutMs: 30_000 });
  await look();
  service.up();
  await gate.open();
  return ended;
}

async function remove(space: Namespace, ...names: readonly string[]): Promise<void> {
  for (const name of names) await space.kubectl(["delete", name, "--ignore-not-found", "--wait=false"]);
}

describe("an admission webhook of the event", () => {
  kubeTest("comes when somebody can answer for it, and before the custom resources that it judges", async () => {
    await using space = await freshNamespace();
    const group = uniqueGroup();
    await using service = await calledService(space, (call) => {
      const { uid } = reviewOf(call);
      const patch = [{ op: "add", path: "/metadata/labels", value: { judged: "yes" } }];
      const response = { uid, allowed: true, patchType: "JSONPatch", patch: Buffer.from(JSON.stringify(patch)).toString("base64") };
      return { apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", response };
    });
    const gate = await behind(space, service);
    const webhooks = {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "MutatingWebhookConfiguration",
      metadata: { name: `${service.name}.transporter.test` },
      webhooks: [
        {
          name: `${service.name}.transporter.test`,
          clientConfig: service.clientConfig,
          rules: [{ apiGroups: [group], apiVersions: ["*"], operations: ["CREATE", "UPDATE"], resources: ["widgets"] }],
          failurePolicy: "Fail",
          sideEffects: "None",
          admissionReviewVersions: ["v1"],
        },
      ],
    };
    const objects = [
      widget(group, space),
      webhooks,
      gate.deployment,
      service.manifest,
      configMap("plain", {}),
      definition(group, [schema("v1", true)]),
    ];
    try {
      const told = await walkThrough(space, objects, gate, service, async () => {
        expect(await space.get("mutatingwebhookconfiguration", webhooks.metadata.name)).toBeUndefined();
        expect(await space.get(`widgets.${group}`, "one")).toBeUndefined();
        expect(await space.get("configmap", "plain")).toBeDefined();
      });
      expect(new Set(told.map((text) => text.split(" ")[0]))).toEqual(new Set(["created"]));
      expect(await space.get(`widgets.${group}`, "one")).toMatchObject({ metadata: { labels: { judged: "yes" } } });
      expect(service.calls.length).toBeGreaterThanOrEqual(1);
    } finally {
      await remove(space, `mutatingwebhookconfiguration/${webhooks.metadata.name}`, `crd/widgets.${group}`);
    }
  });

  kubeTest("whose backend does not get ready is not made: it would refuse everybody's objects", async () => {
    await using space = await freshNamespace();
    const group = uniqueGroup();
    await using service = await calledService(space, () => undefined);
    const gate = await behind(space, service);
    const name = `${service.name}.transporter.test`;
    const webhooks = {
      apiVersion: "admissionregistration.k8s.io/v1",
      kind: "ValidatingWebhookConfiguration",
      metadata: { name },
      webhooks: [
        {
          name,
          clientConfig: service.clientConfig,
          rules: [{ apiGroups: [group], apiVersions: ["*"], operations: ["*"], resources: ["*"] }],
          sideEffects: "None",
          admissionReviewVersions: ["v1"],
        },
      ],
    };
    const { told, outcomes } = await walk(await clientOf(space.kube), parsed(webhooks, service.manifest, gate.deployment), {
      defaultNamespace: space.name,
      readyTimeoutMs: 2_000,
    });
    expect(told).toEqual([
      `pending ValidatingWebhookConfiguration ${name}`,
      `created Service ${space.name}/${service.name}`,
      `created Deployment ${space.name}/${service.name}`,
    ]);
    expect(outcomes[0]?.message).toBe(`not tried, because Deployment ${space.name}/${service.name}, which answers for it, is not ready`);
    expect(await space.get("validatingwebhookconfiguration", name)).toBeUndefined();
  });
});

describe("a conversion webhook of the event", () => {
  kubeTest("has somebody to answer before what it converts is applied", async () => {
    await using space = await freshNamespace();
    const group = uniqueGroup();
    await using service = await calledService(space, (call) => {
      const { uid, desiredAPIVersion, objects } = reviewOf(call) as {
        uid: string;
        desiredAPIVersion: string;
        objects: Record<string, unknown>[];
      };
      const convertedObjects = objects.map((object) => ({ ...object, apiVersion: desiredAPIVersion, converted: "yes" }));
      return {
        apiVersion: "apiextensions.k8s.io/v1",
        kind: "ConversionReview",
        response: { uid, convertedObjects, result: { status: "Success" } },
      };
    });
    const gate = await behind(space, service);
    const conversion = { strategy: "Webhook", webhook: { clientConfig: service.clientConfig, conversionReviewVersions: ["v1"] } };
    const crd = definition(group, [schema("v1", true), schema("v1beta1", false)], conversion);
    try {
      const objects = [widget(group, space, "v1beta1"), crd, gate.deployment, service.manifest];
      await walkThrough(space, objects, gate, service, async () => {
        expect(await space.get("crd", `widgets.${group}`)).toBeDefined();
        expect(service.calls).toEqual([]);
      });
      expect(await space.get(`widgets.v1.${group}`, "one")).toMatchObject({ converted: "yes" });
    } finally {
      await remove(space, `crd/widgets.${group}`);
    }
  });
});

describe("an aggregated API of the event", () => {
  kubeTest("comes when somebody can answer for it, and is available at the end", async () => {
    await using space = await freshNamespace();
    const group = uniqueGroup();
    await using service = await calledService(space, ({ path }) => {
      if (path !== `/apis/${group}/v1`) return undefined;
      const resources = [
        { name: "samples", singularName: "sample", namespaced: true, kind: "Sample", verbs: ["get", "list", "create", "patch", "watch"] },
      ];
      return { kind: "APIResourceList", apiVersion: "v1", groupVersion: `${group}/v1`, resources };
    });
    const gate = await behind(space, service);
    const api = {
      apiVersion: "apiregistration.k8s.io/v1",
      kind: "APIService",
      metadata: { name: `v1.${group}` },
      spec: { group, version: "v1", groupPriorityMinimum: 1000, versionPriority: 10, ...service.clientConfig },
    };
    const early = { apiVersion: `${group}/v1`, kind: "Sample", metadata: { name: "early" } };
    const refused = await refusal(walk(await clientOf(space.kube), parsed(early, api), { defaultNamespace: space.name }));
    expect(refused.code).toBe("UNKNOWN_KIND");
    expect(refused.remedy).toBe(
      `APIService v1.${group} of this event will serve it, and what that is cannot be known before: send its objects in a later event.`,
    );
    try {
      const told = await walkThrough(space, [api, gate.deployment, service.manifest], gate, service, async () => {
        expect(await space.get("apiservice", `v1.${group}`)).toBeUndefined();
      });
      expect(told[0]).toBe(`created APIService v1.${group}`);
      const { status } = (await space.get("apiservice", `v1.${group}`)) as { status: { conditions: { type: string; status: string }[] } };
      expect(status.conditions.find(({ type }) => type === "Available")?.status).toBe("True");
      // What it serves can be planned now, and waits for it in an event that has both.
      const client = await clientOf(space.kube);
      const sample = { apiVersion: `${group}/v1`, kind: "Sample", metadata: { name: "one" } };
      await eventually(async () => (await client.discovery.refresh()).has(`${group}/v1/Sample`), {
        what: "the kind's being served",
        timeoutMs: 30_000,
      });
      const plan = await planObjects(client, parsed(sample, api), { defaultNamespace: space.name });
      expect(plan.batches.map(({ objects, awaits }) => [objects.map(({ label }) => label), awaits.map(({ label }) => label)])).toEqual([
        [[`APIService v1.${group}`], []],
        [[`Sample ${space.name}/one`], [`APIService v1.${group}`]],
      ]);
    } finally {
      await remove(space, `apiservice/v1.${group}`);
    }
  });
});
