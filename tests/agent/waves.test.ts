import { describe, expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { kubeTest } from "../support/kube.ts";
import { type Operating, operating } from "./operate.ts";

type Json = Record<string, unknown>;

/** A ConfigMap with these annotations, as people write it. */
function config(name: string, annotations: Readonly<Record<string, string>> = {}, data: Readonly<Record<string, string>> = {}): string {
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name, annotations }, data });
}

const wave = (number: number): Record<string, string> => ({ "transporter.dev/wave": String(number) });

/** In the test's own namespace, without one being written. */
function inSpace({ space }: Operating, ...manifests: readonly string[]): string[] {
  return manifests.map((text) => {
    const object = JSON.parse(text) as { metadata: Json };
    return JSON.stringify({ ...object, metadata: { namespace: space.name, ...object.metadata } });
  });
}

function words({ cp }: Operating, id: string): string[] {
  return cp.statuses(id).map((status) => String(status["message"]));
}

async function present({ space }: Operating): Promise<string[]> {
  const names = (await space.kubectl(["get", "configmaps", "--output=name"])).split("\n").map((line) => line.replace("configmap/", ""));
  return names.filter((name) => name !== "" && name !== "kube-root-ca.crt").toSorted();
}

async function metadataOf({ space }: Operating, name: string): Promise<Json> {
  const object = (await space.get("configmap", name)) as { metadata: Json } | undefined;
  return object?.metadata ?? {};
}

describe("an event with an order of its own", () => {
  kubeTest("waits by what it says itself of readiness, tells for what, and goes on when it is so", async () => {
    await using place = await operating();
    const ready_when = [{ kind: "ConfigMap", name: "gate", ready: 'has(self.data) && self.data.open == "yes"' }];
    const manifests = inSpace(place, config("late", wave(1)), config("gate", {}, { open: "no" }), config("beside"));
    const id = await place.begin({ manifests, ready_when, ignore_fields: [{ name: "gate", pointers: ["/data/open"] }] });
    await eventually(() => words(place, id).find((text) => text.startsWith("waiting for ConfigMap")), {
      timeoutMs: 30_000,
      what: "word of the gate",
    });
    expect(words(place, id).find((text) => text.startsWith("waiting for"))).toStartWith(`waiting for ConfigMap ${place.space.name}/gate: `);
    expect(await present(place)).toEqual(["beside", "gate"]);
    await place.space.kubectl(["patch", "configmap", "gate", "--type=merge", "--patch", '{"data":{"open":"yes"}}']);
    const ended = await place.ended(id);
    expect(ended).toMatchObject({
      state: "completed",
      told: ["created ConfigMap late", "created ConfigMap gate", "created ConfigMap beside"],
    });
  });

  kubeTest("that does not come to its next wave fails with the reason, and each object says where it stands", async () => {
    await using place = await operating();
    const ready_when = [{ name: "gate", ready: "false" }];
    const manifests = inSpace(place, config("gate"), config("late", wave(1)), config("later", wave(2)));
    const ended = await place.run({ manifests, ready_when, verify_timeout: "2s" });
    expect(ended).toMatchObject({
      state: "failed",
      code: "VERIFY_TIMEOUT",
      told: ["created ConfigMap gate", "pending ConfigMap late", "pending ConfigMap later"],
    });
    expect(ended.message).toContain(`not ready after 2 s: ConfigMap ${place.space.name}/gate`);
    expect(ended.messages[0]).toStartWith("not ready: ");
    expect(ended.messages[1]).toBe(`not tried, because ConfigMap ${place.space.name}/gate of wave 0 is not ready`);
    expect(await present(place)).toEqual(["gate"]);
  });

  kubeTest("ends at once when it is called back between two waves, and says of each object whether it was applied", async () => {
    await using place = await operating();
    const manifests = inSpace(place, config("gate"), config("late", wave(1)));
    const id = await place.begin({ manifests, ready_when: [{ name: "gate", ready: "false" }], verify_timeout: "10m" });
    await eventually(() => words(place, id).find((text) => text.startsWith("waiting for ConfigMap")), {
      timeoutMs: 30_000,
      what: "word of the gate",
    });
    (await place.cp.connection()).send({ type: "cancel", event_id: id, revision: 1 });
    const ended = await place.ended(id);
    expect(ended).toMatchObject({
      state: "cancelled",
      code: "EVENT_CANCELLED",
      told: ["created ConfigMap gate", "pending ConfigMap late"],
    });
    expect(await present(place)).toEqual(["gate"]);
  });

  kubeTest("in a circle, with a dependency that is nowhere, or with an annotation that says nothing: nothing is touched", async () => {
    await using place = await operating();
    const on = (name: string): Record<string, string> => ({
      "config.kubernetes.io/depends-on": `/namespaces/${place.space.name}/ConfigMap/${name}`,
    });
    const circle = await place.run({ manifests: inSpace(place, config("other"), config("a", on("b")), config("b", on("a"))) });
    expect(circle).toMatchObject({ state: "failed", code: "DEPENDENCY_CYCLE" });
    expect(circle.message).toContain(`ConfigMap ${place.space.name}/a depends on ConfigMap ${place.space.name}/b`);
    const waves = await place.run({ manifests: inSpace(place, config("a", on("b")), config("b", wave(1))) });
    expect(waves).toMatchObject({ state: "failed", code: "DEPENDENCY_CYCLE" });
    const nowhere = await place.run({ manifests: inSpace(place, config("other"), config("a", on("none"))) });
    expect(nowhere).toMatchObject({ state: "failed", code: "DEPENDENCY_NOT_FOUND" });
    expect(nowhere.message).toContain(`ConfigMap ${place.space.name}/none, which does not exist`);
    const wrong = await place.run({ manifests: inSpace(place, config("other"), config("a", { "transporter.dev/wave": "first" })) });
    expect(wrong).toMatchObject({ state: "failed", code: "INVALID_OBJECT" });
    const short = await place.run({
      manifests: inSpace(place, config("other"), config("a", { "config.kubernetes.io/depends-on": "ConfigMap/b" })),
    });
    expect(short).toMatchObject({ state: "failed", code: "INVALID_OBJECT" });
    expect(short.message).toContain('config.kubernetes.io/depends-on has "ConfigMap/b", which names no object');
    expect(await present(place)).toEqual([]);
  });

  kubeTest("is undone in the opposite order: what depends on something goes before it", async () => {
    await using place = await operating();
    const on = { "config.kubernetes.io/depends-on": `/namespaces/${place.space.name}/ConfigMap/base` };
    // Without its finalizer being taken away, the one that depends on the other stays.
    const held = JSON.parse(config("held", on)) as { metadata: Json };
    held.metadata["finalizers"] = ["example.org/hold"];
    const manifests = inSpace(place, config("base"), JSON.stringify(held));
    await place.run({ manifests });
    const id = await place.begin({ manifests, operation: "delete", verify_timeout: "1m" });
    await eventually(async () => (await metadataOf(place, "held"))["deletionTimestamp"], {
      timeoutMs: 30_000,
      what: "its deletion",
    });
    await eventually(() => words(place, id).some((text) => text.includes("held")), {
      timeoutMs: 30_000,
      what: "word of what is waited for",
    });
    const base = await metadataOf(place, "base");
    expect(base["name"]).toBe("base");
    expect(base["deletionTimestamp"]).toBeUndefined();
    await place.space.kubectl(["patch", "configmap", "held", "--type=merge", "--patch", '{"metadata":{"finalizers":null}}']);
    const ended = await place.ended(id);
    expect(ended).toMatchObject({ state: "completed", told: ["deleted ConfigMap base", "deleted ConfigMap held"] });
    expect(await present(place)).toEqual([]);
  });
});
