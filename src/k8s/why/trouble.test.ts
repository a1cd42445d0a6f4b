import { describe, expect, test } from "bun:test";
import type { Json } from "../http/json.ts";
import { gatherTroubles, troubleOf } from "./trouble.ts";

function pod(status: Json, spec: Json = {}, name = "one"): Json {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: { containers: [{ name: "main", image: "example.org/app:1", resources: { limits: { memory: "128Mi" } } }], ...spec },
    status,
  };
}

describe("what a pod says of itself", () => {
  test("which image does not come, and why", () => {
    const status = {
      phase: "Pending",
      containerStatuses: [{ name: "main", image: "", state: { waiting: { reason: "ErrImagePull", message: "manifest\n  unknown" } } }],
    };
    expect(troubleOf(pod(status))?.text).toBe(
      'pod one: the image "example.org/app:1" of container main cannot be pulled (ErrImagePull: manifest unknown)',
    );
  });

  test("what configuration is missing", () => {
    const status = {
      phase: "Pending",
      containerStatuses: [
        { name: "main", state: { waiting: { reason: "CreateContainerConfigError", message: 'secret "key" not found' } } },
      ],
    };
    expect(troubleOf(pod(status))?.text).toBe(
      'pod one: container main (image "example.org/app:1") is in CreateContainerConfigError: secret "key" not found',
    );
  });

  test("that it has no place, or nothing to say", () => {
    const scheduled = { type: "PodScheduled", status: "False", reason: "Unschedulable", message: "0/3 nodes are available" };
    expect(troubleOf(pod({ phase: "Pending", conditions: [scheduled] }))).toEqual({
      text: "pod one cannot be scheduled: 0/3 nodes are available",
      what: "place",
    });
    expect(troubleOf(pod({ phase: "Running", conditions: [{ type: "Ready", status: "True" }] }))).toBeUndefined();
    expect(troubleOf(pod({ phase: "Succeeded" }))).toBeUndefined();
    expect(troubleOf({})).toBeUndefined();
  });

  test("how often it crashed and how it ended, and what memory it may have when that was the end", () => {
    const status = {
      phase: "Running",
      containerStatuses: [
        {
          name: "main",
          restartCount: 4,
          state: { waiting: { reason: "CrashLoopBackOff", message: "back-off 40s restarting failed container" } },
          lastState: { terminated: { exitCode: 137, reason: "OOMKilled" } },
        },
      ],
    };
    expect(troubleOf(pod(status))).toEqual({
      text:
        'pod one: container main (image "example.org/app:1") is in CrashLoopBackOff after 4 restarts: back-off 40s restarting failed ' +
        "container (last ended with code 137, OOMKilled); its memory limit is 128Mi",
      what: "container",
      culprit: { container: "main", previous: true },
    });
  });

  test("with which code a container ended, whose log is still there", () => {
    const ended = { exitCode: 3, reason: "Error", message: "no\nconfiguration" };
    expect(troubleOf(pod({ phase: "Failed", containerStatuses: [{ name: "main", state: { terminated: ended } }] }))).toEqual({
      text: "pod one: container main ended with code 3 (Error): no configuration",
      what: "container",
      culprit: { container: "main", previous: false },
    });
    const again = { name: "main", restartCount: 2, state: { terminated: { exitCode: 1 } } };
    expect(troubleOf(pod({ phase: "Running", containerStatuses: [again] }))?.text).toBe(
      "pod one: container main ended with code 1 after 2 restarts",
    );
    expect(troubleOf(pod({ phase: "Failed", reason: "Evicted", message: "the node was low on memory" }))?.text).toBe(
      "pod one failed: Evicted: the node was low on memory",
    );
  });

  test("which init container it waits for, which container is being made, which gate is shut", () => {
    const init = { initContainerStatuses: [{ name: "migrate", state: { running: {} } }], containerStatuses: [{ name: "main" }] };
    expect(troubleOf(pod({ phase: "Pending", ...init }))?.text).toBe("pod one: init container migrate has not ended yet");
    const making = { containerStatuses: [{ name: "main", state: { waiting: { reason: "ContainerCreating" } } }] };
    expect(troubleOf(pod({ phase: "Pending", ...making }))?.text).toBe("pod one: ContainerCreating");
    const gated = { readinessGates: [{ conditionType: "example.org/balanced" }] };
    const up = { phase: "Running", containerStatuses: [{ name: "main", ready: true, state: { running: {} } }] };
    expect(troubleOf(pod(up, gated))?.text).toBe("pod one waits for its readiness gate example.org/balanced");
  });

  test("what many of them have in common", () => {
    const crash = (name: string, restartCount: number): Json => {
      const uid = "3d6bd6c8-9f6a-4f5e-8f0e-0a1b2c3d4e5" + restartCount;
      const message = `back-off ${restartCount}0s restarting failed container=main pod=${name}_shop(${uid})`;
      const waiting = { reason: "CrashLoopBackOff", message };
      return pod({ phase: "Running", containerStatuses: [{ name: "main", restartCount, state: { waiting } }] }, {}, name);
    };
    const unplaced = pod({ phase: "Pending", conditions: [{ type: "PodScheduled", status: "False", message: "no room" }] }, {}, "four");
    const { texts, witness } = gatherTroubles([unplaced, crash("one", 1), crash("two", 3), crash("three", 2)]);
    expect(texts).toEqual([
      'pod one: container main (image "example.org/app:1") is in CrashLoopBackOff after 1 restart: back-off 10s restarting failed container=main (and 2 more alike)',
      "pod four cannot be scheduled: no room",
    ]);
    expect(witness).toMatchObject({ metadata: { name: "one" } });
  });
});
