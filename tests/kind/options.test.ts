import { describe, expect, test } from "bun:test";
import { parse } from "yaml";
import { clusterConfig, clusterPlans } from "../../scripts/kind/cluster-config.ts";
import { readKindOptions } from "../../scripts/kind/options.ts";

describe("what is asked of kind", () => {
  test("is a command with what goes with it", () => {
    expect(readKindOptions(["e2e", "--keep", "--queue", "nats", "--engine", "podman"], {})).toEqual({
      command: "e2e",
      keep: true,
      engine: "podman",
      queue: "nats",
      nodeImage: undefined,
      archive: undefined,
    });
    expect(readKindOptions(["--help"], {})).toBeUndefined();
  });

  test("takes the engine from kind's own variable where no flag names one", () => {
    expect(readKindOptions(["up"], { KIND_EXPERIMENTAL_PROVIDER: "podman" })?.engine).toBe("podman");
    expect(readKindOptions(["up", "--engine", "docker"], { KIND_EXPERIMENTAL_PROVIDER: "podman" })?.engine).toBe("docker");
    expect(readKindOptions(["up"], { KIND_EXPERIMENTAL_PROVIDER: "" })?.engine).toBeUndefined();
  });

  test("is refused by name where it makes no sense", () => {
    for (const [args, word] of [
      [[], "e2e, up, down, all"],
      [["fly"], "e2e, up, down, all"],
      [["up", "down"], "e2e, up, down, all"],
      [["up", "--keep"], "--keep"],
      [["e2e", "--queue", "rabbit"], "rabbit"],
      [["e2e", "--engine", "rkt"], "rkt"],
      [["e2e", "--fast"], "--fast"],
    ] as const)
      expect(() => readKindOptions(args, {})).toThrow(word);
    expect(() => readKindOptions(["e2e"], { KIND_EXPERIMENTAL_PROVIDER: "nerdctl" })).toThrow("nerdctl");
  });
});

describe("the clusters", () => {
  test("are two, of which only the control plane's has ports of this machine", () => {
    expect(clusterPlans("e2e", undefined)).toEqual([
      { name: "cp-cluster", ports: [30080, 30081, 30443] },
      { name: "agent-cluster", ports: [] },
    ]);
    expect(clusterPlans("up", "nats")[0]?.ports).toEqual([30080, 30081, 30443, 30422]);
    expect(clusterPlans("e2e", "memphis")[0]?.ports).toEqual([30080, 30081, 30443, 30090, 30666]);
  });

  test("are one in the form that 0.1 had, with its ports", () => {
    expect(clusterPlans("all", undefined)).toEqual([{ name: "transporter", ports: [30080, 30081, 30443, 30090, 30666] }]);
  });

  test("are described as kind reads it, and open nothing to the network", () => {
    expect(parse(clusterConfig({ name: "cp-cluster", ports: [30080, 30443] }))).toEqual({
      kind: "Cluster",
      apiVersion: "kind.x-k8s.io/v1alpha4",
      name: "cp-cluster",
      nodes: [
        {
          role: "control-plane",
          extraPortMappings: [30080, 30443].map((port) => ({
            protocol: "TCP",
            containerPort: port,
            hostPort: port,
            listenAddress: "127.0.0.1",
          })),
        },
      ],
    });
    expect(parse(clusterConfig({ name: "agent-cluster", ports: [] }))).toMatchObject({ nodes: [{ role: "control-plane" }] });
  });
});
