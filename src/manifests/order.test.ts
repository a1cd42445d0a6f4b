import { describe, expect, test } from "bun:test";
import { constantFrom, array, assert, property } from "fast-check";
import { orderObjects, parseManifests, type ParsedObject, STAGES, stageOf } from "./mod.ts";

const KINDS: readonly (readonly [string, string])[] = [
  ["v1", "Pod"],
  ["example.com/v1", "Widget"],
  ["admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"],
  ["apps/v1", "Deployment"],
  ["rbac.authorization.k8s.io/v1", "RoleBinding"],
  ["v1", "ConfigMap"],
  ["apiextensions.k8s.io/v1", "CustomResourceDefinition"],
  ["networking.k8s.io/v1", "NetworkPolicy"],
  ["v1", "Service"],
  ["autoscaling/v2", "HorizontalPodAutoscaler"],
  ["rbac.authorization.k8s.io/v1", "Role"],
  ["v1", "Namespace"],
  ["gateway.networking.k8s.io/v1", "Gateway"],
  ["coordination.k8s.io/v1", "Lease"],
];

function objects(kinds: readonly (readonly [string, string])[]): ParsedObject[] {
  if (kinds.length === 0) return [];
  return parseManifests(kinds.map(([apiVersion, kind], index) => JSON.stringify({ apiVersion, kind, metadata: { name: `n${index}` } })));
}

describe("the order of an apply", () => {
  test("puts what others lean on first", () => {
    expect(orderObjects(objects(KINDS)).map((stage) => stage.map(({ ref }) => ref.kind))).toEqual([
      ["Namespace"],
      ["CustomResourceDefinition"],
      ["NetworkPolicy"],
      ["ConfigMap", "Role"],
      ["RoleBinding"],
      ["Service", "Lease"],
      ["Pod", "Deployment"],
      ["HorizontalPodAutoscaler"],
      ["Widget", "Gateway"],
      ["ValidatingWebhookConfiguration"],
    ]);
  });

  test("loses nothing, doubles nothing, and keeps the order of the event within a stage", () => {
    assert(
      property(array(constantFrom(...KINDS), { maxLength: 40 }), (kinds) => {
        const parsed = objects(kinds);
        const stages = orderObjects(parsed);
        expect(stages.flat().toSorted((a, b) => parsed.indexOf(a) - parsed.indexOf(b))).toEqual(parsed);
        let last = -1;
        for (const stage of stages) {
          const places = stage.map(({ ref }) => STAGES.indexOf(stageOf(ref.group, ref.kind)));
          expect(new Set(places).size).toBe(1);
          expect(places[0]).toBeGreaterThan(last);
          last = places[0] ?? last;
          const indices = stage.map((one) => parsed.indexOf(one));
          expect(indices).toEqual(indices.toSorted((a, b) => a - b));
        }
      }),
    );
  });

  test("goes by group, not by the name of the kind alone", () => {
    expect(stageOf("example.com", "Namespace")).toBe("custom_resources");
    expect(stageOf("serving.knative.dev", "Service")).toBe("custom_resources");
  });
});
