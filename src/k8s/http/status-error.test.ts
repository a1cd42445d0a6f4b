import { describe, expect, test } from "bun:test";
import type { ErrorCode } from "../../protocol/mod.ts";
import { errorOfAnswer, refusesDryRun } from "./status-error.ts";
import type { KubeAnswer } from "./transport.ts";

function answer(status: number, message: string, more: Readonly<Record<string, unknown>> = {}): KubeAnswer {
  return { status, headers: new Headers(), text: JSON.stringify({ kind: "Status", status: "Failure", message, code: status, ...more }) };
}

// The messages are an API server's own (1.36).
const CASES: readonly (readonly [ErrorCode, KubeAnswer, string])[] = [
  [
    "UNKNOWN_FIELD",
    answer(500, "failed to create typed patch object (web/x; /v1, Kind=ConfigMap): .dota: field not declared in schema"),
    "unknown field .dota",
  ],
  [
    "UNKNOWN_FIELD",
    answer(
      500,
      'failed to create typed patch object (web/d; apps/v1, Kind=Deployment): errors:\n  .spec.template.spec.containers[name="c"].imoge: field not declared in schema\n  .spec.replica: field not declared in schema',
    ),
    'unknown field .spec.template.spec.containers[name="c"].imoge; .spec.replica',
  ],
  [
    "UNKNOWN_FIELD",
    answer(400, 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dota"', {
      reason: "BadRequest",
    }),
    "unknown field dota",
  ],
  [
    "INVALID_OBJECT",
    answer(
      500,
      "failed to create typed patch object (web/x; /v1, Kind=ConfigMap): .data.a: expected string, got &value.valueUnstructured{Value:1}",
    ),
    ".data.a: expected string, got &value.valueUnstructured{Value:1}",
  ],
  ["APPLY_FAILED", answer(500, 'Internal error occurred: failed calling webhook "x.example.org": no endpoints'), "failed calling webhook"],
  [
    "FORBIDDEN",
    answer(403, 'configmaps "x" is forbidden: User "limited" cannot patch resource "configmaps" in API group "" in the namespace "web"'),
    'User "limited" cannot patch',
  ],
  [
    "QUOTA_EXCEEDED",
    answer(403, 'secrets "key" is forbidden: exceeded quota: small, requested: secrets=1, used: secrets=0, limited: secrets=0'),
    "exceeded quota",
  ],
  [
    "ADMISSION_DENIED",
    answer(403, 'pods "root" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true'),
    "violates PodSecurity",
  ],
  ["ADMISSION_DENIED", answer(403, 'admission webhook "guard.example.org" denied the request: no'), "denied the request"],
  [
    "ADMISSION_DENIED",
    answer(422, "configmaps \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"),
    "denied request",
  ],
  [
    "NAMESPACE_TERMINATING",
    answer(403, 'configmaps "x" is forbidden: unable to create new content in namespace web because it is being terminated', {
      details: { causes: [{ reason: "NamespaceTerminating" }] },
    }),
    "because it is being terminated",
  ],
  [
    "NAMESPACE_NOT_FOUND",
    answer(404, 'namespaces "nope" not found', { details: { name: "nope", kind: "namespaces" } }),
    'namespace "nope" does not exist',
  ],
  ["UNKNOWN_KIND", answer(404, "the server could not find the requested resource", { details: {} }), "does not serve this kind"],
  [
    "IMMUTABLE_FIELD",
    answer(422, 'Deployment.apps "d" is invalid: spec.selector: Invalid value: {}: field is immutable', {
      details: { causes: [{ reason: "FieldValueInvalid", message: "Invalid value: {}: field is immutable", field: "spec.selector" }] },
    }),
    "spec.selector: Invalid value: {}: field is immutable",
  ],
  [
    "INVALID_OBJECT",
    answer(422, 'ConfigMap "X_" is invalid: metadata.name: Invalid value', {
      details: { causes: [{ message: "Invalid value", field: "metadata.name" }] },
    }),
    "metadata.name: Invalid value",
  ],
  ["APPLY_FAILED", answer(409, "Operation cannot be fulfilled on configmaps: the object has been modified"), "has been modified"],
  ["KUBE_UNAVAILABLE", answer(503, "the server is currently unable to handle the request"), "unable to handle"],
  ["KUBE_UNAUTHORIZED", answer(401, "Unauthorized"), "Unauthorized"],
  ["APPLY_FAILED", { status: 418, headers: new Headers(), text: "<html>a proxy" }, "<html>a proxy (HTTP 418)"],
];

describe("the API server's refusals", () => {
  for (const [code, given, words] of CASES)
    test(`${code}: ${words.slice(0, 60)}`, () => {
      const error = errorOfAnswer(given, "ConfigMap web/x");
      expect(error.code).toBe(code);
      expect(error.message).toStartWith("ConfigMap web/x: ");
      expect(error.message).toContain(words);
    });

  const conflict = answer(409, "Apply failed with 3 conflicts", {
    details: {
      causes: [
        {
          reason: "FieldManagerConflict",
          message: 'conflict with "hpa" with subresource "scale" using autoscaling/v1 at 2026-01-02T03:04:05Z',
          field: ".spec.replicas",
        },
        { reason: "FieldManagerConflict", message: 'conflict with "kubectl-client-side-apply" using apps/v1', field: ".spec.paused" },
        { reason: "FieldManagerConflict", message: 'conflict with "hpa"', field: ".spec.minReadySeconds" },
      ],
    },
  });

  test("a conflict names managers and fields, and leaves out those who are ours", () => {
    const all = errorOfAnswer(conflict, "Deployment web/d");
    expect(all.code).toBe("FIELD_CONFLICT");
    expect(all.message).toBe(
      'Deployment web/d: .spec.replicas belongs to field manager "hpa" (through scale, as autoscalers do, last changed 2026-01-02T03:04:05Z); ' +
        '.spec.paused belongs to field manager "kubectl-client-side-apply"; .spec.minReadySeconds belongs to field manager "hpa"',
    );
    const others = errorOfAnswer(conflict, "Deployment web/d", new Set(["kubectl-client-side-apply", "hpa"]));
    // What it wrote through a subresource is not what it wrote to the object.
    expect(others.message).toBe(
      'Deployment web/d: .spec.replicas belongs to field manager "hpa" (through scale, as autoscalers do, last changed 2026-01-02T03:04:05Z)',
    );
    expect(others.details["conflicts"]).toEqual([
      { manager: "hpa", fields: [".spec.replicas"], field_count: 1, subresource: "scale", time: "2026-01-02T03:04:05Z" },
    ]);
  });

  test("a webhook that cannot be tried says nothing about the object", () => {
    expect(refusesDryRun(answer(400, 'admission webhook "x" does not support dry run'))).toBe(true);
    expect(refusesDryRun(answer(400, "error decoding"))).toBe(false);
  });
});

test("a field's name cannot keep the agent busy for ever", () => {
  const name = `.spec..[\t]${"schema[schema]".repeat(1_000)}schema::`;
  const startedNs = Bun.nanoseconds();
  const error = errorOfAnswer(
    answer(500, `failed to create typed patch object (web/x; /v1, Kind=ConfigMap): ${name} field not declared in schema`),
    "x",
  );
  expect(error.code).toBe("UNKNOWN_FIELD");
  // Minutes, or a moment: what lies between is the machine's.
  expect((Bun.nanoseconds() - startedNs) / 1e6).toBeLessThan(5_000);
  for (const text of ["cannot ", "updates to ", "dry run ", "failed to create typed patch object (", 'unknown field "']) {
    const beforeNs = Bun.nanoseconds();
    errorOfAnswer(answer(403, text.repeat(300_000)), "x");
    refusesDryRun(answer(400, text.repeat(300_000)));
    expect((Bun.nanoseconds() - beforeNs) / 1e6).toBeLessThan(5_000);
  }
});
