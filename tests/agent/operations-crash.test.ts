import { describe, expect } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventFrame } from "../support/agent.ts";
import { freshNamespace, kubeTest, type Namespace, sharedKube } from "../support/kube.ts";
import { type RunningProcess, startTransporter } from "../support/process.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";
import { configMapWith, type Ended, endingOf, manifest, reference } from "./operate.ts";

type Json = Record<string, unknown>;

const NAMES = ["a", "b", "c", "d", "e"] as const;

function startAgent(home: string, cp: ScriptedCp, kubeconfig: string, env: Readonly<Record<string, string>>): Promise<RunningProcess> {
  const args = ["agent", "--agent-id", "agent-cluster-agent-1", "--cluster-name", "crash", "--cp-url", cp.url, "--kubeconfig", kubeconfig];
  return startTransporter(args, { home, env });
}

/** Carries an event out by an agent whose process dies when the second object is done, and by one that finds what that left. */
async function overCrash(space: Namespace, payload: Json, meanwhile: () => Promise<void> = () => Promise.resolve()): Promise<Ended> {
  const { kubeconfigPath } = space.kube;
  const home = await mkdtemp(join(tmpdir(), "transporter-crash-"));
  await using cp = await scriptedCp({ protocol: 2 });
  try {
    await using first = await startAgent(home, cp, kubeconfigPath, { TRANSPORTER_FAILPOINT: "agent.run.object-applied@2" });
    const { manifests = [], ...rest } = payload;
    (await cp.connection()).send(eventFrame("crashed", manifests as string[], { payload: rest }));
    await first.exited;
    expect(first.signal()).toBe("SIGKILL");
    await meanwhile();
    await using _second = await startAgent(home, cp, kubeconfigPath, {});
    return endingOf(await cp.ended("crashed", 120_000));
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function configMaps(space: Namespace): Promise<string[]> {
  const text = await space.kubectl(["get", "configmaps", "--output=jsonpath={.items[*].metadata.name}"]);
  return text.split(" ").filter((name) => name !== "kube-root-ca.crt" && name !== "");
}

describe("an agent that dies in the middle", () => {
  kubeTest(
    "of create tells what it had created as created, and not that it exists",
    async () => {
      await using space = await freshNamespace(await sharedKube());
      const manifests = NAMES.map((name) => manifest(configMapWith(name, space.name)));
      const ended = await overCrash(space, { operation: "create", manifests });
      expect(ended.told).toEqual(NAMES.map((name) => `created ConfigMap ${name}`));
      expect(ended.state).toBe("completed");
    },
    180_000,
  );

  kubeTest(
    "of delete tells what it had deleted as deleted, and leaves what somebody made since",
    async () => {
      await using space = await freshNamespace(await sharedKube());
      for (const name of NAMES) await space.kubectl(["create", "configmap", name]);
      let remade = "";
      const ended = await overCrash(
        space,
        { operation: "delete", references: [...NAMES, "never"].map((name) => reference("v1", "ConfigMap", name, space.name)) },
        async () => {
          const left = await configMaps(space);
          remade = NAMES.find((name) => !left.includes(name)) ?? "";
          await space.kubectl(["create", "configmap", remade, "--from-literal=by=somebody"]);
        },
      );
      expect(ended.told).toEqual([...NAMES.map((name) => `deleted ConfigMap ${name}`), "absent ConfigMap never"]);
      expect(await configMaps(space)).toEqual([remade]);
      expect(ended.messages[NAMES.findIndex((name) => name === remade)]).toBe("Resource deleted; something made another of the same name");
    },
    180_000,
  );

  kubeTest(
    "of JSON patches carries out each of them once",
    async () => {
      await using space = await freshNamespace(await sharedKube());
      for (const name of NAMES) {
        const finalizers = ["example.org/first"];
        await space.kubectl(["create", "--filename=-"], manifest(configMapWith(name, space.name, { finalizers })));
      }
      // To add to a list is the change that is there twice when it is carried out twice; the last one only removes.
      const add = '[{"op":"add","path":"/metadata/finalizers/-","value":"example.org/more"}]';
      const remove = '[{"op":"remove","path":"/data/value"}]';
      const ended = await overCrash(space, {
        operation: "patch",
        patches: NAMES.map((name) => ({
          ...reference("v1", "ConfigMap", name, space.name),
          type: "json",
          patch: name === "e" ? remove : add,
        })),
      });
      expect(ended.told).toEqual(NAMES.map((name) => `updated ConfigMap ${name}`));
      for (const name of NAMES) {
        const object = (await space.get("configmap", name)) as Json;
        const { finalizers } = object["metadata"] as Json;
        expect(finalizers).toEqual(name === "e" ? ["example.org/first"] : ["example.org/first", "example.org/more"]);
        if (name === "e") expect(object["data"]).toBeUndefined();
        await space.kubectl(["patch", "configmap", name, "--type=merge", '--patch={"metadata":{"finalizers":null}}']);
      }
    },
    180_000,
  );

  kubeTest(
    "of a restart restarts nothing twice",
    async () => {
      await using space = await freshNamespace(await sharedKube());
      for (const name of NAMES) await space.kubectl(["create", "deployment", name, "--image=example.test/main:1", "--replicas=0"]);
      const ended = await overCrash(space, {
        operation: "restart",
        references: NAMES.map((name) => reference("apps/v1", "Deployment", name, space.name)),
      });
      expect(ended.told).toEqual(NAMES.map((name) => `restarted Deployment ${name}`));
      for (const name of NAMES) {
        const object = (await space.get("deployment", name)) as Json;
        // 1 when it was made; every change of the template counts.
        expect((object["metadata"] as Json)["generation"]).toBe(2);
      }
    },
    180_000,
  );
});
