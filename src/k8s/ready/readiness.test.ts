import { describe, expect, test } from "bun:test";
import type { Json } from "../http/json.ts";
import { hasReadiness, readiness } from "./readiness.ts";

function object(apiVersion: string, kind: string, parts: Json): Json {
  return { apiVersion, kind, metadata: { name: "one", generation: 2 }, ...parts };
}

function ready(type: string, status: string, more: Json = {}): Json {
  return { conditions: [{ type, status, reason: "Because", message: "as it is", ...more }] };
}

interface Case {
  readonly name: string;
  readonly object: Json;
  readonly status: "ready" | "in_progress" | "failed";
  readonly message?: string;
}

const rolledOut = {
  observedGeneration: 2,
  replicas: 3,
  updatedReplicas: 3,
  readyReplicas: 3,
  availableReplicas: 3,
  ...ready("Available", "True"),
};
const web = (status: Json, spec: Json = {}): Json => object("apps/v1", "Deployment", { spec: { replicas: 3, ...spec }, status });
const db = (status: Json, spec: Json = {}): Json => object("apps/v1", "StatefulSet", { spec: { replicas: 3, ...spec }, status });
const daemon = (status: Json, spec: Json = {}): Json => object("apps/v1", "DaemonSet", { spec, status });
const daemonDone = {
  observedGeneration: 2,
  desiredNumberScheduled: 2,
  currentNumberScheduled: 2,
  updatedNumberScheduled: 2,
  numberReady: 2,
  numberAvailable: 2,
};
const pod = (status: Json): Json => object("v1", "Pod", { spec: { containers: [{ name: "main", image: "example.org/app:1" }] }, status });

const CASES: readonly Case[] = [
  { name: "a Deployment rolled out", object: web(rolledOut), status: "ready" },
  { name: "a Deployment that nobody looked at", object: web({}), status: "in_progress", message: "no controller has looked at it yet" },
  { name: "a Deployment with a status of before the change", object: web({ ...rolledOut, observedGeneration: 1 }), status: "in_progress" },
  {
    name: "a Deployment in the middle",
    object: web({ ...rolledOut, updatedReplicas: 1 }),
    status: "in_progress",
    message: "1 of 3 pods are updated",
  },
  {
    name: "a Deployment with old pods left",
    object: web({ ...rolledOut, replicas: 4 }),
    status: "in_progress",
    message: "1 old pods are still there",
  },
  {
    name: "a Deployment not available",
    object: web({ ...rolledOut, availableReplicas: 1 }),
    status: "in_progress",
    message: "1 of 3 pods are available",
  },
  {
    name: "a Deployment past its deadline",
    object: web({ ...rolledOut, ...ready("Progressing", "False", { reason: "ProgressDeadlineExceeded" }) }),
    status: "failed",
  },
  {
    name: "a Deployment past a deadline of before the change",
    object: web({ ...rolledOut, observedGeneration: 1, ...ready("Progressing", "False", { reason: "ProgressDeadlineExceeded" }) }),
    status: "in_progress",
  },
  {
    name: "a Deployment whose pods a quota forbids",
    object: web({ ...rolledOut, updatedReplicas: 0, ...ready("ReplicaFailure", "True", { message: "exceeded quota" }) }),
    status: "in_progress",
    message: "0 of 3 pods are updated: exceeded quota",
  },
  { name: "a Deployment of none", object: web({ observedGeneration: 2, ...ready("Available", "True") }, { replicas: 0 }), status: "ready" },
  { name: "a paused Deployment", object: web({ observedGeneration: 2 }, { paused: true }), status: "ready" },
  {
    name: "a StatefulSet done",
    object: db({ observedGeneration: 2, replicas: 3, readyReplicas: 3, currentReplicas: 3, currentRevision: "a", updateRevision: "a" }),
    status: "ready",
  },
  {
    name: "a StatefulSet between revisions",
    object: db({ observedGeneration: 2, replicas: 3, readyReplicas: 3, updatedReplicas: 3, currentRevision: "a", updateRevision: "b" }),
    status: "in_progress",
  },
  {
    name: "a StatefulSet up to its partition",
    object: db(
      { observedGeneration: 2, replicas: 3, readyReplicas: 3, updatedReplicas: 1, currentRevision: "a", updateRevision: "b" },
      { updateStrategy: { rollingUpdate: { partition: 2 } } },
    ),
    status: "ready",
  },
  {
    name: "a StatefulSet updated by hand",
    object: db(
      { observedGeneration: 2, replicas: 3, readyReplicas: 3, currentRevision: "a", updateRevision: "b" },
      { updateStrategy: { type: "OnDelete" } },
    ),
    status: "ready",
  },
  { name: "a DaemonSet done", object: daemon(daemonDone), status: "ready" },
  {
    name: "a DaemonSet updating",
    object: daemon({ ...daemonDone, updatedNumberScheduled: 1 }),
    status: "in_progress",
    message: "1 of 2 pods are updated",
  },
  { name: "a DaemonSet on no node", object: daemon({ observedGeneration: 2, desiredNumberScheduled: 0 }), status: "ready" },
  { name: "a Job complete", object: object("batch/v1", "Job", { status: ready("Complete", "True") }), status: "ready" },
  {
    name: "a Job failed",
    object: object("batch/v1", "Job", { status: ready("Failed", "True", { reason: "BackoffLimitExceeded" }) }),
    status: "failed",
  },
  {
    name: "a Job that has only started",
    object: object("batch/v1", "Job", { spec: { completions: 2 }, status: { startTime: "now", active: 1, succeeded: 1 } }),
    status: "in_progress",
    message: "1 of 2 pods succeeded, 1 run",
  },
  { name: "a suspended Job", object: object("batch/v1", "Job", { spec: { suspend: true } }), status: "ready" },
  { name: "a pod ready", object: pod({ phase: "Running", ...ready("Ready", "True") }), status: "ready" },
  { name: "a pod that is done", object: pod({ phase: "Succeeded" }), status: "ready" },
  {
    name: "a pod that failed",
    object: pod({ phase: "Failed", reason: "Evicted", message: "the node was low on memory" }),
    status: "failed",
    message: "the node was low on memory",
  },
  {
    name: "a pod in a crash loop",
    object: pod({
      phase: "Running",
      containerStatuses: [
        {
          name: "main",
          state: { waiting: { reason: "CrashLoopBackOff", message: "back-off" } },
          lastState: { terminated: { exitCode: 3, reason: "Error" } },
        },
      ],
    }),
    status: "failed",
    message: "container main: back-off (last ended with code 3, Error)",
  },
  {
    name: "a pod whose image does not come",
    object: pod({
      phase: "Pending",
      containerStatuses: [{ name: "main", state: { waiting: { reason: "ErrImagePull", message: "not found" } } }],
    }),
    status: "in_progress",
  },
  { name: "a claim bound", object: object("v1", "PersistentVolumeClaim", { status: { phase: "Bound" } }), status: "ready" },
  { name: "a claim pending", object: object("v1", "PersistentVolumeClaim", { status: { phase: "Pending" } }), status: "in_progress" },
  { name: "a claim lost", object: object("v1", "PersistentVolumeClaim", { status: { phase: "Lost" } }), status: "failed" },
  { name: "a namespace", object: object("v1", "Namespace", { status: { phase: "Active" } }), status: "ready" },
  { name: "a service", object: object("v1", "Service", { spec: { type: "ClusterIP" } }), status: "ready" },
  {
    name: "a balanced service without an address",
    object: object("v1", "Service", { spec: { type: "LoadBalancer" }, status: { loadBalancer: {} } }),
    status: "in_progress",
  },
  {
    name: "a balanced service with one",
    object: object("v1", "Service", { spec: { type: "LoadBalancer" }, status: { loadBalancer: { ingress: [{ ip: "10.0.0.1" }] } } }),
    status: "ready",
  },
  {
    name: "a definition established",
    object: object("apiextensions.k8s.io/v1", "CustomResourceDefinition", {
      status: {
        conditions: [
          { type: "NamesAccepted", status: "True" },
          { type: "Established", status: "True" },
        ],
      },
    }),
    status: "ready",
  },
  {
    name: "a definition whose names are taken",
    object: object("apiextensions.k8s.io/v1", "CustomResourceDefinition", { status: ready("NamesAccepted", "False") }),
    status: "failed",
  },
  { name: "a definition just stored", object: object("apiextensions.k8s.io/v1", "CustomResourceDefinition", {}), status: "in_progress" },
  {
    name: "an aggregated API that is down",
    object: object("apiregistration.k8s.io/v1", "APIService", { status: ready("Available", "False") }),
    status: "in_progress",
  },
  { name: "a custom resource without conditions", object: object("example.org/v1", "Thing", {}), status: "ready" },
  { name: "a custom resource ready", object: object("example.org/v1", "Thing", { status: ready("Ready", "True") }), status: "ready" },
  {
    name: "a custom resource not ready",
    object: object("example.org/v1", "Thing", { status: ready("Ready", "False") }),
    status: "in_progress",
    message: "as it is",
  },
  {
    name: "a custom resource of unknown readiness",
    object: object("example.org/v1", "Thing", { status: ready("Ready", "Unknown") }),
    status: "in_progress",
  },
  {
    name: "a custom resource ready before the change",
    object: object("example.org/v1", "Thing", { status: ready("Ready", "True", { observedGeneration: 1 }) }),
    status: "in_progress",
  },
  {
    name: "a custom resource whose controller lags",
    object: object("example.org/v1", "Thing", { status: { observedGeneration: 1, ...ready("Ready", "True") } }),
    status: "in_progress",
  },
  { name: "a custom resource stalled", object: object("example.org/v1", "Thing", { status: ready("Stalled", "True") }), status: "failed" },
  {
    name: "a custom resource reconciling",
    object: object("example.org/v1", "Thing", { status: ready("Reconciling", "True") }),
    status: "in_progress",
  },
  { name: "a ConfigMap, whatever it holds", object: object("v1", "ConfigMap", { status: ready("Ready", "False") }), status: "ready" },
  {
    name: "something that is being deleted",
    object: { ...web(rolledOut), metadata: { deletionTimestamp: "now" } },
    status: "in_progress",
    message: "is being deleted",
  },
  { name: "nonsense", object: { status: "broken", metadata: 7, spec: [] }, status: "ready" },
];

describe("readiness", () => {
  for (const one of CASES)
    test(one.name, () => {
      const found = readiness(one.object);
      expect(found.status).toBe(one.status);
      if (one.message !== undefined) expect(found.message).toBe(one.message);
      if (found.status !== "ready") expect(found.message).not.toBe("");
    });

  test("kinds that are ready by being stored need no look", () => {
    expect(hasReadiness("", "ConfigMap")).toBe(false);
    expect(hasReadiness("apps", "Deployment")).toBe(true);
    expect(hasReadiness("example.org", "ConfigMap")).toBe(true);
  });
});
