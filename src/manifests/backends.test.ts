import { describe, expect, test } from "bun:test";
import { systemPorts } from "../kit/mod.ts";
import { arrange, type KubeObject, refOf } from "./mod.ts";

function make(
  apiVersion: string,
  kind: string,
  name: string,
  rest: Readonly<Record<string, unknown>> = {},
  namespace?: string,
): KubeObject {
  return { apiVersion, kind, metadata: { name, ...(namespace === undefined ? {} : { namespace }) }, ...rest };
}

const service = (name: string, selector: unknown = { app: name }, namespace = "ops"): KubeObject =>
  make("v1", "Service", name, { spec: { selector, ports: [{ port: 443 }] } }, namespace);
const workload = (
  name: string,
  labels: Readonly<Record<string, string>> = { app: name },
  kind = "Deployment",
  namespace = "ops",
): KubeObject => make("apps/v1", kind, name, { spec: { template: { metadata: { labels } } } }, namespace);
const clientConfig = (name: string, namespace = "ops"): unknown => ({ service: { name, namespace } });

function webhooks(
  name: string,
  backend: string,
  rule: Readonly<Record<string, unknown>> = {},
  kind = "ValidatingWebhookConfiguration",
): KubeObject {
  const rules = [{ apiGroups: ["example.com"], apiVersions: ["v1"], resources: ["widgets"], operations: ["CREATE"], ...rule }];
  return make("admissionregistration.k8s.io/v1", kind, name, { webhooks: [{ name, clientConfig: clientConfig(backend), rules }] });
}

function definition(kind: string, group = "example.com", spec: Readonly<Record<string, unknown>> = {}): KubeObject {
  const plural = `${kind.toLowerCase()}s`;
  const names = { kind, plural };
  return make("apiextensions.k8s.io/v1", "CustomResourceDefinition", `${plural}.${group}`, {
    spec: { group, scope: "Namespaced", names, versions: [{ name: "v1", served: true }], ...spec },
  });
}

const widget = (name: string, group = "example.com"): KubeObject => make(`${group}/v1`, "Widget", name, {}, "ops");
const dependingOn = (object: KubeObject, on: string): KubeObject => ({
  ...object,
  metadata: { ...object.metadata, annotations: { "config.kubernetes.io/depends-on": on } },
});
const inWave = (object: KubeObject, wave: number): KubeObject => ({
  ...object,
  metadata: { ...object.metadata, annotations: { "transporter.dev/wave": String(wave) } },
});

/** `section: names after what is awaited`. */
function told(...objects: readonly KubeObject[]): string[] {
  const { batches } = arrange(objects, (object) => ({ ref: refOf(object), object, plural: `${object.kind.toLowerCase()}s` }));
  const names = (some: readonly KubeObject[]): string => some.map(({ metadata }) => metadata.name).join(" ");
  return batches.map(
    ({ objects: own, section, awaits }) => `${section}: ${names(own)}${awaits.length === 0 ? "" : ` after ${names(awaits)}`}`,
  );
}

describe("a webhook's configuration", () => {
  test("comes after what makes the pods behind its service is ready, and before what it judges", () => {
    expect(told(widget("w"), webhooks("guard", "guard"), workload("guard"), workload("other"), service("guard"))).toEqual([
      "0: guard",
      "0: guard other",
      "1: guard after guard",
      "2: w after guard",
    ]);
  });

  test("waits for every kind of workload that the service selects, in its own namespace, and no other", () => {
    const pod = make("v1", "Pod", "pod", {}, "ops");
    const labelled = { ...pod, metadata: { ...pod.metadata, labels: { app: "guard", tier: "x" } } };
    const objects = [
      workload("set", { app: "guard" }, "StatefulSet"),
      workload("daemon", { app: "guard", more: "labels" }, "DaemonSet"),
      labelled,
      workload("elsewhere", { app: "guard" }, "Deployment", "web"),
      workload("unlike", { app: "guardian" }),
      make("batch/v1", "Job", "job", { spec: { template: { metadata: { labels: { app: "guard" } } } } }, "ops"),
    ];
    expect(told(webhooks("hook", "guard"), service("guard"), ...objects).at(-1)).toBe("1: hook after set daemon pod");
  });

  test("is not held up by a service without selector, one that is not in the event, or none", () => {
    const byUrl = make("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "url", {
      webhooks: [{ name: "url", clientConfig: { url: "https://example.com" }, rules: [] }],
    });
    expect(
      told(webhooks("a", "guard"), webhooks("b", "absent"), byUrl, service("guard", null), service("empty", {}), workload("guard")),
    ).toEqual(["0: guard empty", "0: guard", "0: a b url"]);
  });

  test("judges by group and resource, whatever the version; connects and deletions do not count", () => {
    const judged = (rule: Readonly<Record<string, unknown>>): boolean =>
      told(widget("w"), webhooks("hook", "x", rule)).at(-1) === "1: w after hook";
    expect(judged({ apiVersions: ["v2"] })).toBe(true);
    expect(judged({ resources: ["*"], operations: ["*"] })).toBe(true);
    expect(judged({ resources: ["widgets/*"], operations: ["UPDATE"] })).toBe(true);
    expect(judged({ resources: ["gadgets"] })).toBe(false);
    expect(judged({ resources: ["widgets/status"] })).toBe(false);
    expect(judged({ apiGroups: ["example.org"] })).toBe(false);
    expect(judged({ operations: ["DELETE", "CONNECT"] })).toBe(false);
  });

  test("for every group is about the kinds that the event brings: others may be what its own backend needs", () => {
    const everything = webhooks("all", "guard", { apiGroups: ["*"], resources: ["*"] });
    expect(
      told(
        everything,
        widget("certificate", "certs.example.org"),
        widget("policy"),
        definition("Widget"),
        service("guard"),
        workload("guard"),
      ),
    ).toEqual([
      "0: widgets.example.com",
      "0: guard after widgets.example.com",
      "0: guard",
      "0: certificate",
      "1: all after guard",
      "2: policy after all",
    ]);
  });

  test("does not hold up built-in kinds, though it may judge them", () => {
    const config = make("v1", "ConfigMap", "config", {}, "ops");
    expect(told(webhooks("hook", "x", { apiGroups: ["", "*"], resources: ["*"] }), config)).toEqual(["0: config", "0: hook"]);
  });
});

describe("where a guess stands against a word of the sender's", () => {
  test("a backend that depends on what its webhook judges: the webhook's order gives way", () => {
    const guard = dependingOn(workload("guard"), "example.com/namespaces/ops/Widget/certificate");
    expect(told(webhooks("hook", "guard"), guard, service("guard"), widget("certificate"))).toEqual([
      "0: guard",
      "0: certificate",
      "1: guard after certificate",
      "2: hook after guard",
    ]);
  });

  test("a wave that puts the webhook before its backend", () => {
    expect(told(inWave(webhooks("hook", "guard"), -1), workload("guard"), service("guard"))).toEqual([
      "0: hook",
      "1: guard after hook",
      "1: guard",
    ]);
  });

  test("five hundred of them are done with quickly", () => {
    const objects = Array.from({ length: 500 }, (_, index) => [
      webhooks(`hook-${index}`, `guard-${index}`, { resources: [`kind${index}s`] }),
      dependingOn(workload(`guard-${index}`), `example.com/namespaces/ops/Kind${index}/one-${index}`),
      service(`guard-${index}`),
      make("example.com/v1", `Kind${index}`, `one-${index}`, {}, "ops"),
    ]).flat();
    const begin = systemPorts.clock.monotonic();
    told(...objects);
    // Half a second in peace; work that grows with the square would take minutes.
    expect(systemPorts.clock.monotonic() - begin).toBeLessThan(25_000);
  });
});

describe("a conversion", () => {
  const conversion = { strategy: "Webhook", webhook: { clientConfig: clientConfig("guard"), conversionReviewVersions: ["v1"] } };

  test("has its backend ready before what it converts; the definition does not wait, as the backend needs it", () => {
    expect(told(widget("w"), workload("guard"), service("guard"), definition("Widget", "example.com", { conversion }))).toEqual([
      "0: widgets.example.com",
      "0: guard after widgets.example.com",
      "0: guard",
      "1: w after guard",
    ]);
  });

  test("by nobody needs nobody", () => {
    const none = definition("Widget", "example.com", { conversion: { ...conversion, strategy: "None" } });
    expect(told(widget("w"), workload("guard"), service("guard"), none).at(-1)).toBe("0: w");
  });
});

describe("an aggregated API", () => {
  const api = make("apiregistration.k8s.io/v1", "APIService", "v1.example.com", {
    spec: { group: "example.com", version: "v1", service: { name: "guard", namespace: "ops" } },
  });

  test("comes after its backend, and what it serves after it is available", () => {
    expect(told(widget("w"), api, workload("guard"), service("guard"), widget("other", "example.org"))).toEqual([
      "0: guard",
      "0: guard",
      "0: other",
      "1: v1.example.com after guard",
      "2: w after v1.example.com",
    ]);
  });

  test("without a service is the API server's own", () => {
    const local = make("apiregistration.k8s.io/v1", "APIService", "v1.example.com", { spec: { group: "example.com", version: "v1" } });
    expect(told(widget("w"), local)).toEqual(["0: v1.example.com", "0: w"]);
  });
});

describe("broken manifests", () => {
  test("lean on nothing: what is wrong with them is the API server's to say", () => {
    for (const broken of [
      null,
      7,
      "x",
      [],
      [null],
      [{ clientConfig: null, rules: [null] }],
      [{ clientConfig: { service: { name: 1 } }, rules: { a: 1 } }],
    ])
      expect(
        told(make("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "hook", { webhooks: broken }), widget("w")),
      ).toEqual(["0: w", "0: hook"]);
    for (const spec of [null, [], { selector: [] }, { selector: { app: 1 } }, { template: { metadata: null } }])
      expect(
        told(
          webhooks("hook", "guard"),
          make("v1", "Service", "guard", { spec }, "ops"),
          make("apps/v1", "Deployment", "guard", { spec }, "ops"),
        ).at(-1),
      ).toBe("0: hook");
  });
});
