import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Json, numberOf, recordOf, recordsOf } from "../../src/k8s/http/json.ts";
import { readiness } from "../../src/k8s/ready/readiness.ts";

/**
 * Objects with what kstatus itself says of them: 871 of thirteen kinds, made at random with a bias to nearly ready, judged by
 * `status.Compute` of pkg/kstatus/status in cli-utils (Flux's fork, v0.36.0-flux.15).
 */
const JUDGED = join(import.meta.dir, "..", "fixtures", "kstatus", "verdicts.jsonl");

const OURS: Readonly<Record<string, string>> = {
  Current: "ready",
  InProgress: "in_progress",
  Terminating: "in_progress",
  Failed: "failed",
};

interface Deviation {
  /** As docs/readiness.md has it. */
  readonly what: string;
  readonly kind: readonly string[];
  readonly when: (object: Json) => boolean;
  readonly kstatus: string;
  readonly ours: string;
}

function condition(object: Json, type: string): boolean {
  return recordsOf(recordOf(object["status"])["conditions"]).some((one) => one["type"] === type && one["status"] === "True");
}

const isOnDelete = (object: Json): boolean => recordOf(recordOf(object["spec"])["updateStrategy"])["type"] === "OnDelete";
const phase = (object: Json): unknown => recordOf(object["status"])["phase"];
const WORKLOADS = ["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"];

const DEVIATIONS: readonly Deviation[] = [
  {
    what: "a Job that runs is not ready",
    kind: ["Job"],
    when: (object) => !condition(object, "Complete"),
    kstatus: "Current",
    ours: "in_progress",
  },
  {
    what: "a Job that is to be suspended is not waited for",
    kind: ["Job"],
    when: (object) => recordOf(object["spec"])["suspend"] === true,
    kstatus: "InProgress",
    ours: "ready",
  },
  {
    what: "a claim whose volume is lost has failed",
    kind: ["PersistentVolumeClaim"],
    when: (object) => phase(object) === "Lost",
    kstatus: "InProgress",
    ours: "failed",
  },
  { what: "a Pod that failed has failed", kind: ["Pod"], when: (object) => phase(object) === "Failed", kstatus: "Current", ours: "failed" },
  {
    what: "a Pod without a place may still get one",
    kind: ["Pod"],
    when: (object) => phase(object) === "Pending",
    kstatus: "Failed",
    ours: "in_progress",
  },
  {
    what: "a crash loop of a Pod that never ran is one, too",
    kind: ["Pod"],
    when: (object) => phase(object) !== "Running",
    kstatus: "InProgress",
    ours: "failed",
  },
  {
    what: "a balanced Service needs an address",
    kind: ["Service"],
    when: (object) => recordOf(recordOf(object["status"])["loadBalancer"])["ingress"] === undefined,
    kstatus: "Current",
    ours: "in_progress",
  },
  {
    what: "a balanced Service with an address needs no cluster IP",
    kind: ["Service"],
    when: (object) => recordOf(object["spec"])["clusterIP"] === undefined,
    kstatus: "InProgress",
    ours: "ready",
  },
  {
    what: "with OnDelete the pods that there are have to be ready",
    kind: ["StatefulSet"],
    when: isOnDelete,
    kstatus: "Current",
    ours: "in_progress",
  },
  {
    what: "a StatefulSet is updated when its two revisions are one",
    kind: ["StatefulSet"],
    when: ({ status }) => recordOf(status)["currentRevision"] !== recordOf(status)["updateRevision"],
    kstatus: "Current",
    ours: "in_progress",
  },
  {
    what: "with OnDelete nobody updates the pods",
    kind: ["DaemonSet"],
    when: isOnDelete,
    kstatus: "InProgress",
    ours: "ready",
  },
  {
    what: "a workload that no controller has looked at is not ready",
    kind: WORKLOADS,
    when: (object) => numberOf(recordOf(object["status"])["observedGeneration"]) === undefined,
    kstatus: "Current",
    ours: "in_progress",
  },
  {
    what: "a workload that no controller has looked at has not failed",
    kind: WORKLOADS,
    when: (object) => numberOf(recordOf(object["status"])["observedGeneration"]) === undefined,
    kstatus: "Failed",
    ours: "in_progress",
  },
];

const lines = (await Bun.file(JUDGED).text()).trim().split("\n");
const judged = lines.map((line) => JSON.parse(line) as { readonly kstatus: string; readonly object: Json });

describe("readiness beside kstatus", () => {
  test("is the same, but for what is said with its reason", () => {
    const others: string[] = [];
    for (const { kstatus, object } of judged) {
      const { status } = readiness(object);
      const known = DEVIATIONS.some(
        (one) => one.kind.includes(String(object["kind"])) && one.kstatus === kstatus && one.ours === status && one.when(object),
      );
      if (OURS[kstatus] !== status && !known) others.push(`kstatus says ${kstatus}, we say ${status}: ${JSON.stringify(object)}`);
    }
    expect(others).toEqual([]);
  });

  test("is held to every verdict and every kind that kstatus has rules for", () => {
    expect(judged.length).toBeGreaterThan(800);
    for (const verdict of Object.keys(OURS)) expect(judged.filter(({ kstatus }) => kstatus === verdict).length).toBeGreaterThan(20);
    const kinds = new Map<string, Set<string>>();
    for (const { kstatus, object } of judged)
      kinds.set(String(object["kind"]), (kinds.get(String(object["kind"])) ?? new Set()).add(kstatus));
    for (const kind of [
      ...WORKLOADS,
      "Pod",
      "PersistentVolumeClaim",
      "PodDisruptionBudget",
      "CustomResourceDefinition",
      "Service",
      "Thing",
    ])
      expect([...(kinds.get(kind) ?? [])]).toContain("Current");
    expect(kinds.size).toBe(13);
  });

  test("differs in nothing that docs/readiness.md does not say", async () => {
    const document = await Bun.file(join(import.meta.dir, "..", "..", "docs", "readiness.md")).text();
    const text = document.replaceAll(/\s+/g, " ");
    for (const { what } of DEVIATIONS) expect(text).toContain(what);
  });
});
