import { describe, expect, test } from "bun:test";
import { TransporterError } from "../../kit/mod.ts";
import { canHeal } from "./can-heal.ts";
import { errorOfAnswer } from "./status-error.ts";
import type { KubeAnswer } from "./transport.ts";

function answer(status: number, message: string, more: Readonly<Record<string, unknown>> = {}): KubeAnswer {
  return { status, headers: new Headers(), text: JSON.stringify({ kind: "Status", status: "Failure", message, code: status, ...more }) };
}

const LOCK =
  'Operation cannot be fulfilled on deployments.apps "web": the object has been modified; please apply your changes to the latest version and try again';
const CONFLICT = { details: { causes: [{ reason: "FieldManagerConflict", message: 'conflict with "hpa"', field: ".spec.replicas" }] } };

describe("what can pass by itself", () => {
  for (const [what, given] of [
    ["throttling", answer(429, "too many requests")],
    ["an overloaded or starting server", answer(503, "apiserver not ready")],
    ["a gateway in between", answer(502, "bad gateway")],
    ["a request that took the server too long", answer(504, "Timeout: request did not complete within the allotted timeout")],
    [
      "a webhook that is not there",
      answer(500, 'Internal error occurred: failed calling webhook "x.example.org": connect: connection refused'),
    ],
    [
      "a webhook without endpoints",
      answer(500, 'Internal error occurred: failed calling webhook "x": no endpoints available for service "x"'),
    ],
    ["etcd that changes its leader", answer(500, "etcdserver: leader changed")],
    ["an optimistic lock that somebody else won", answer(409, LOCK, { reason: "Conflict" })],
  ] as const)
    test(what, () => expect(canHeal(errorOfAnswer(given, "ConfigMap web/x"))).toBe(true));

  test("a server that is away", () => expect(canHeal(new TransporterError("KUBE_UNAVAILABLE", "connection refused"))).toBe(true));
});

describe("what cannot", () => {
  for (const [what, given] of [
    ["an unknown field", answer(400, 'strict decoding error: unknown field "dota"')],
    [
      "a field of the wrong type, which server-side apply answers with 500",
      answer(500, "failed to create typed patch object (web/x; /v1, Kind=ConfigMap): .data.a: expected string"),
    ],
    ["an invalid value", answer(422, 'ConfigMap "x" is invalid: metadata.name: Invalid value', { reason: "Invalid" })],
    ["an immutable field", answer(422, "spec.selector: Invalid value: field is immutable")],
    ["a missing right", answer(403, 'User "limited" cannot patch resource "configmaps"')],
    ["a refusal by a webhook", answer(403, 'admission webhook "guard.example.org" denied the request: no')],
    ["a full quota", answer(403, 'secrets "key" is forbidden: exceeded quota: small')],
    ["a field of another manager", answer(409, "Apply failed with 1 conflict", CONFLICT)],
    ["a namespace that is being deleted", answer(403, "unable to create new content in namespace web because it is being terminated")],
    ["a namespace that is not there", answer(404, 'namespaces "nope" not found', { details: { kind: "namespaces", name: "nope" } })],
    ["credentials that are not accepted", answer(401, "Unauthorized")],
    ["what the server does not implement", answer(501, "not implemented")],
  ] as const)
    test(what, () => expect(canHeal(errorOfAnswer(given, "ConfigMap web/x"))).toBe(false));

  for (const code of ["VERIFY_TIMEOUT", "VERIFY_FAILED", "DEADLINE_EXCEEDED", "UNKNOWN_KIND", "KUBE_CONFIG_INVALID", "INTERNAL"] as const)
    test(code, () => expect(canHeal(new TransporterError(code, "no"))).toBe(false));

  test("a fault of ours, whatever was thrown", () => expect(canHeal(new TypeError("x is undefined"))).toBe(false));

  test("a lock that the manifest itself holds on to", () =>
    expect(canHeal(new TransporterError("APPLY_FAILED", LOCK, { details: { http_status: 409, pinned: true } }))).toBe(false));
});

test("of several faults, every one has to be able to", () => {
  const passing = { object: "a", code: "APPLY_FAILED", http_status: 500 };
  const lasting = { object: "b", code: "INVALID_OBJECT", http_status: 422 };
  const of = (faults: readonly unknown[]): TransporterError =>
    new TransporterError("APPLY_FAILED", "2 objects", { details: { http_status: 500, faults } });
  expect(canHeal(of([passing, passing]))).toBe(true);
  expect(canHeal(of([passing, lasting]))).toBe(false);
});
