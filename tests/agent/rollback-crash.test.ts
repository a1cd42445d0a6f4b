import { describe, expect } from "bun:test";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Failpoint } from "../../src/kit/mod.ts";
import { configMap, eventFrame } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, sharedKube } from "../support/kube.ts";
import { type RunningProcess, startTransporter } from "../support/process.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";

type Json = Record<string, unknown>;

interface Place extends AsyncDisposable {
  readonly cp: ScriptedCp;
  readonly space: Namespace;
  /** The agent as people run it, in a process of its own, which dies by SIGKILL where it is told to. */
  agent(failpoint?: `${Failpoint}@${number}`): Promise<RunningProcess>;
}

async function place(): Promise<Place> {
  const stack = new AsyncDisposableStack();
  const space = stack.use(await freshNamespace(await sharedKube()));
  const home = await mkdtemp(join(await realpath(tmpdir()), "transporter-rollback-"));
  stack.defer(() => rm(home, { recursive: true, force: true }));
  const cp = stack.use(await scriptedCp({ protocol: 2 }));
  const flags = ["--agent-id", "rollback", "--cluster-name", "test", "--cp-url", cp.url, "--kubeconfig", space.kube.kubeconfigPath];
  return {
    cp,
    space,
    agent: (failpoint) =>
      startTransporter(["agent", ...flags], { home, env: failpoint === undefined ? {} : { TRANSPORTER_FAILPOINT: failpoint } }),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const NAMES = ["a", "b", "c"];

/** Three objects that are there, of which another manager knows, as they are; without what the API server counts by itself. */
async function state(space: Namespace): Promise<Json[]> {
  return Promise.all(
    NAMES.map(async (name) => {
      const answer = await space.kube.request("GET", `/api/v1/namespaces/${space.name}/configmaps/${name}`);
      const object = (await answer.json()) as Json;
      return { ...object, metadata: { ...(object["metadata"] as Json), resourceVersion: undefined } };
    }),
  );
}

async function prepare({ space }: Place): Promise<Json[]> {
  for (const name of NAMES) {
    await space.kubectl(["apply", "--server-side", "--field-manager=transporter", "-f", "-"], configMap(name, space.name, "first"));
    await space.kubectl(["annotate", "configmap", name, "who=people"]);
  }
  return state(space);
}

/** Changes all three, brings a fourth, and never becomes ready. */
function manifests({ name }: Namespace): string[] {
  const ill = `apiVersion: apps/v1
kind: Deployment
metadata: {name: ill, namespace: ${name}}
spec:
  replicas: 1
  selector: {matchLabels: {app: ill}}
  template:
    metadata: {labels: {app: ill, transporter.dev/image-error: "true"}}
    spec: {containers: [{name: main, image: "images.example/none:1"}]}
`;
  return [...NAMES.map((one) => configMap(one, name, "second")), configMap("fresh", name), ill];
}

const resources = (status: Json): Json[] => (status["result"] as Json)["resource_status"] as Json[];
const SENT = { payload: { on_failure: "rollback", verify_timeout: "2s" } };
const UNDONE = ["restored a", "restored b", "restored c", "removed fresh", "removed ill"];

async function expectUndone(at: Place, before: readonly Json[], last: Json): Promise<void> {
  expect(resources(last).map((one) => `${String(one["status"])} ${String(one["name"])}`)).toEqual(UNDONE);
  expect(await state(at.space)).toEqual([...before]);
  expect(await at.space.get("configmap", "fresh")).toBeUndefined();
  expect(await at.space.get("deployment", "ill")).toBeUndefined();
}

async function died(agent: RunningProcess): Promise<void> {
  await agent.exited;
  expect(agent.signal()).toBe("SIGKILL");
}

describe("an agent that is killed in the middle, and started again", () => {
  for (const point of [
    "rollback.kept@1",
    "agent.run.object-applied@2",
    "agent.run.applied@1",
    "rollback.begun@1",
    "rollback.object@2",
  ] as const)
    kubeTest(
      `at ${point}: everything is as it was before the event's first attempt`,
      async () => {
        await using at = await place();
        const before = await prepare(at);
        {
          await using doomed = await at.agent(point);
          (await at.cp.connection()).send(eventFrame("killed", manifests(at.space), SENT));
          await died(doomed);
        }
        const told = at.cp.statuses("killed").length;
        await using _agent = await at.agent();
        const last = await at.cp.ended("killed", 60_000);
        expect(last).toMatchObject({ state: "failed", details: { code: "VERIFY_TIMEOUT", rolled_back: true } });
        expect(String(last["message"])).toMatch(
          /^not ready after 2 s: Deployment .*; rolled back: 3 objects were restored and 2 objects were removed$/,
        );
        await expectUndone(at, before, last);
        // What was being put back is not tried again first.
        const again = at.cp.statuses("killed").slice(told);
        const tried = again.some((one) => one["phase"] === "verifying");
        expect(tried).toBe(!point.startsWith("rollback.begun") && !point.startsWith("rollback.object"));
      },
      120_000,
    );

  kubeTest(
    "three times over: the event is put aside, and what it changed is put back all the same",
    async () => {
      await using at = await place();
      const before = await prepare(at);
      for (let crash = 1; crash <= 3; crash += 1) {
        await using doomed = await at.agent(crash === 1 ? "agent.run.object-applied@2" : "agent.run.applied@1");
        if (crash === 1) (await at.cp.connection()).send(eventFrame("poison", manifests(at.space), SENT));
        await died(doomed);
      }
      await using _agent = await at.agent();
      const last = await at.cp.ended("poison", 60_000);
      expect(last).toMatchObject({ state: "failed", details: { code: "EVENT_QUARANTINED", crashes: 3, rolled_back: true } });
      expect(String(last["message"])).toMatch(/ended 3 times .*; rolled back: 3 objects were restored and 2 objects were removed$/);
      await expectUndone(at, before, last);
    },
    120_000,
  );

  kubeTest(
    "and once more while it puts back: it is given up, and says so",
    async () => {
      await using at = await place();
      await prepare(at);
      for (let crash = 1; crash <= 4; crash += 1) {
        await using doomed = await at.agent(crash === 4 ? "rollback.object@1" : "agent.run.applied@1");
        if (crash === 1) (await at.cp.connection()).send(eventFrame("poison", manifests(at.space), SENT));
        await died(doomed);
      }
      await using _agent = await at.agent();
      const last = await at.cp.ended("poison", 60_000);
      expect(last).toMatchObject({ state: "failed", details: { code: "EVENT_QUARANTINED", crashes: 4 } });
      expect(String(last["message"])).toMatch(/; what it changed was not put back$/);
    },
    120_000,
  );

  kubeTest(
    "stopped on purpose while it puts back: the next process goes on with it",
    async () => {
      await using at = await place();
      const before = await prepare(at);
      const held = manifests(at.space).map((one) =>
        one.includes("name: fresh\n") ? one.replace("metadata:\n", "metadata:\n  finalizers: [example.com/hold]\n") : one,
      );
      {
        await using stopping = await at.agent();
        (await at.cp.connection()).send(eventFrame("stopped", held, SENT));
        await eventually(() => at.cp.statuses("stopped").some((one) => String(one["message"]).startsWith("Putting everything back")), {
          timeoutMs: 40_000,
        });
        await stopping.kill("SIGTERM");
        await stopping.exited;
      }
      expect(at.cp.statuses("stopped").every((one) => one["state"] === "in_progress")).toBe(true);
      await using _agent = await at.agent();
      await eventually(async () => (await at.space.get("configmap", "fresh"))?.["metadata"], { timeoutMs: 40_000 });
      await at.space.kubectl(["patch", "configmap", "fresh", "--type=json", "--patch", '[{"op":"remove","path":"/metadata/finalizers"}]']);
      await expectUndone(at, before, await at.cp.ended("stopped", 90_000));
    },
    150_000,
  );
});
