import { describe, expect } from "bun:test";
import { demandRights, type KubeClient, type PutBack, planObjects, restoreSnapshot, takeSnapshot, type Target } from "../../src/k8s/mod.ts";
import type { KubeObject } from "../../src/manifests/mod.ts";
import { eventually } from "../support/eventually.ts";
import { freshNamespace, kubeTest, type Namespace, sharedKube, uniqueName } from "../support/kube.ts";
import { clientOf, configMap, deployment, parsed, refusal, walk } from "./walk.ts";

type Json = Record<string, unknown>;

/** A snapshot of objects, kept in memory, and the way back to it. */
interface Way {
  back(mayDelete?: boolean): Promise<PutBack[]>;
}

async function keep(client: KubeClient, space: Namespace, objects: readonly KubeObject[]): Promise<Way> {
  const plan = await planObjects(client, parsed(...objects), { defaultNamespace: space.name });
  return keepTargets(client, plan.objects);
}

async function keepTargets(client: KubeClient, targets: readonly Target[]): Promise<Way> {
  const kept: string[] = [];
  const save = (piece: string, nth: number): Promise<void> => {
    kept[nth] = piece;
    return Promise.resolve();
  };
  const { pieces } = await takeSnapshot(client, targets, { save, mayDelete: false });
  return {
    async back(mayDelete = false) {
      const told: PutBack[] = [];
      await restoreSnapshot(client, {
        fieldManager: "transporter",
        mayDelete,
        wasMade: () => false,
        goneMs: 1_000,
        signal: new AbortController().signal,
        pieces,
        piece: (nth) => Promise.resolve(kept[nth] ?? ""),
        onPutBack: (one) => void told.push(one),
      });
      return told;
    },
  };
}

const words = (told: readonly PutBack[]): string[] =>
  told.map(({ target, status, note, error }) => [status, target.ref.kind, target.ref.name, note, error?.message].filter(Boolean).join(" "));

async function read(space: Namespace, plural: string, name: string, root = "/api/v1"): Promise<Json> {
  return (await (await space.kube.request("GET", `${root}/namespaces/${space.name}/${plural}/${name}`)).json()) as Json;
}

/** Until the API server's clock shows another second: it stamps no finer. */
async function anotherSecond({ kube }: Namespace): Promise<void> {
  const second = async (): Promise<string | null> => {
    const response = await kube.request("GET", "/version");
    await response.text();
    return response.headers.get("date");
  };
  const first = await second();
  await eventually(async () => (await second()) !== first, { what: "another second" });
}

/** All but what the API server counts by itself. */
function asItWas(object: Json): Json {
  const { resourceVersion: _version, generation: _generation, ...metadata } = object["metadata"] as Json;
  const { status: _status, ...rest } = object;
  return { ...rest, metadata };
}

describe("putting back what an event changed", () => {
  kubeTest("an object is as it was, other managers' entries and their times included; what is new is gone", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const client = await clientOf(kube);
    const settings = configMap("settings", { a: "1", b: "keep" });
    await walk(client, parsed(settings), { defaultNamespace: space.name });
    await space.kubectl(["annotate", "configmap", "settings", "who=people"]);
    await space.kubectl(["patch", "configmap", "settings", "--field-manager=operator", "--patch", '{"data":{"op":"9007199254740993"}}']);
    const before = await read(space, "configmaps", "settings");
    // Times are to the second, so that a time that is not put back shows.
    await anotherSecond(space);
    const changed = [configMap("settings", { a: "2", c: "new", op: "ours" }), configMap("fresh", { x: "y" })];
    const way = await keep(client, space, changed);
    const { told } = await walk(client, parsed(...changed), { defaultNamespace: space.name, forceConflicts: true });
    expect(told.map((one) => one.split(" ")[0])).toEqual(["updated", "created"]);
    expect(await read(space, "configmaps", "settings")).not.toEqual(before);
    expect(words(await way.back()).toSorted()).toEqual(["removed ConfigMap fresh", "restored ConfigMap settings"]);
    expect(asItWas(await read(space, "configmaps", "settings"))).toEqual(asItWas(before));
    expect((before["metadata"] as Json)["managedFields"]).toBeArrayOfSize(3);
    expect(await space.get("configmap", "fresh")).toBeUndefined();
    // A second time there is nothing to do.
    expect(words(await way.back()).toSorted()).toEqual(["left ConfigMap fresh", "left ConfigMap settings"]);
  });

  kubeTest("a Deployment goes back to its template and rolls out again", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const client = await clientOf(kube);
    await walk(client, parsed(deployment("web", "images.example/web:1")), { defaultNamespace: space.name });
    await space.kubectl(["rollout", "status", "deployment/web", "--timeout=40s"]);
    const before = await read(space, "deployments", "web", "/apis/apps/v1");
    const next = deployment("web", "images.example/web:2", { "transporter.dev/image-error": "true" }, 3);
    const way = await keep(client, space, [next]);
    await walk(client, parsed(next), { defaultNamespace: space.name });
    await eventually(async () => ((await read(space, "deployments", "web", "/apis/apps/v1"))["status"] as Json)["unavailableReplicas"]);
    expect(words(await way.back())).toEqual(["restored Deployment web"]);
    const after = await read(space, "deployments", "web", "/apis/apps/v1");
    expect(after["spec"]).toEqual(before["spec"]);
    const entry = (one: Json): Json[] =>
      ((one["metadata"] as Json)["managedFields"] as Json[]).filter(({ manager }) => manager === "transporter");
    expect(entry(after)).toEqual(entry(before));
    await space.kubectl(["rollout", "status", "deployment/web", "--timeout=40s"]);
  });

  kubeTest("what only others wrote to meanwhile is left as they made it", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const client = await clientOf(kube);
    const objects = [configMap("mine", { a: "1" }), configMap("untouched", { a: "1" })];
    await walk(client, parsed(...objects), { defaultNamespace: space.name });
    await anotherSecond(space);
    const way = await keep(client, space, [...objects, configMap("theirs", {})]);
    await space.kubectl(["patch", "configmap", "untouched", "--field-manager=people", "--patch", '{"data":{"a":"people"}}']);
    await space.kubectl(["create", "configmap", "theirs", "--from-literal=a=people"]);
    await walk(client, parsed(configMap("mine", { a: "2" })), { defaultNamespace: space.name });
    expect(words(await way.back()).toSorted()).toEqual([
      "left ConfigMap theirs somebody else has made it since, and it was left alone",
      "left ConfigMap untouched",
      "restored ConfigMap mine",
    ]);
    expect(await space.get("configmap", "untouched")).toMatchObject({ data: { a: "people" } });
    expect(await space.get("configmap", "theirs")).toMatchObject({ data: { a: "people" } });
  });

  kubeTest("changes of the same second as the look are seen", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const client = await clientOf(kube);
    for (let round = 0; round < 5; round += 1) {
      await walk(client, parsed(configMap(`quick-${round}`, { a: "1" })), { defaultNamespace: space.name });
      const way = await keep(client, space, [configMap(`quick-${round}`, { a: "2" })]);
      await walk(client, parsed(configMap(`quick-${round}`, { a: "2" })), { defaultNamespace: space.name });
      expect(words(await way.back())).toEqual([`restored ConfigMap quick-${round}`]);
      expect(await space.get("configmap", `quick-${round}`)).toMatchObject({ data: { a: "1" } });
    }
  });

  kubeTest("what was deleted is made again: what it said, who managed it, and its owner by its new uid", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const client = await clientOf(kube);
    await walk(client, parsed(configMap("owner", { a: "1" })), { defaultNamespace: space.name });
    const uid = ((await read(space, "configmaps", "owner"))["metadata"] as Json)["uid"];
    const owned = { ...configMap("owned", { b: "1" }), kind: "Secret", data: undefined, stringData: { b: "1" } };
    const reference = { apiVersion: "v1", kind: "ConfigMap", name: "owner", uid };
    await walk(client, parsed({ ...owned, metadata: { name: "owned", ownerReferences: [reference] } }), { defaultNamespace: space.name });
    const [owner, secret] = [await read(space, "configmaps", "owner"), await read(space, "secrets", "owned")];
    const way = await keep(client, space, [configMap("owner", {}), { apiVersion: "v1", kind: "Secret", metadata: { name: "owned" } }]);
    await space.kubectl(["delete", "--ignore-not-found", "configmap/owner", "secret/owned"]);
    expect(words(await way.back(true)).toSorted()).toEqual(["restored ConfigMap owner made again", "restored Secret owned made again"]);
    const [ownerNow, secretNow] = [await read(space, "configmaps", "owner"), await read(space, "secrets", "owned")];
    const made = (one: Json): Json => {
      const { uid: _uid, creationTimestamp: _time, ownerReferences: _owners, ...metadata } = asItWas(one)["metadata"] as Json;
      return { ...asItWas(one), metadata };
    };
    expect([made(ownerNow), made(secretNow)]).toEqual([made(owner), made(secret)]);
    expect((secretNow["metadata"] as Json)["ownerReferences"]).toEqual([{ ...reference, uid: (ownerNow["metadata"] as Json)["uid"] }]);
    expect((ownerNow["metadata"] as Json)["uid"]).not.toBe(uid);
    // And when an earlier run had done it already, nothing is made a second time.
    expect(words(await way.back(true)).toSorted()).toEqual(["restored ConfigMap owner made again", "restored Secret owned made again"]);
    expect(((await read(space, "configmaps", "owner"))["metadata"] as Json)["uid"]).toBe((ownerNow["metadata"] as Json)["uid"]);
  });

  kubeTest("what cannot be put back is named, and the rest is put back all the same", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const client = await clientOf(kube);
    const first = [configMap("plain", { a: "1" }), configMap("frozen", { a: "1" })];
    await walk(client, parsed(...first), { defaultNamespace: space.name });
    const next = [configMap("plain", { a: "2" }), { ...configMap("frozen", { a: "1" }), immutable: true }];
    const way = await keep(client, space, next);
    await walk(client, parsed(...next), { defaultNamespace: space.name });
    const told = await way.back();
    expect(words(told).toSorted()).toEqual([
      expect.stringMatching(
        /^left ConfigMap frozen ConfigMap .*\/frozen: immutable: Forbidden: field is immutable when `immutable` is set$/,
      ),
      "restored ConfigMap plain",
    ]);
    // Where the event may delete, it is deleted and made again.
    expect(words(await way.back(true)).toSorted()).toEqual(["left ConfigMap plain", "restored ConfigMap frozen made again"]);
    expect(await space.get("configmap", "frozen")).not.toHaveProperty("immutable");
  });

  kubeTest("a volume claim is never deleted, even where the event may: what it binds cannot be taken back", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const client = await clientOf(kube);
    const claim = (labels: Record<string, string>): KubeObject => ({
      apiVersion: "v1",
      kind: "PersistentVolumeClaim",
      metadata: { name: "disk", labels },
      spec: { accessModes: ["ReadWriteOnce"], storageClassName: "nobody-makes-it", resources: { requests: { storage: "1Gi" } } },
    });
    await walk(client, parsed(claim({})), { defaultNamespace: space.name });
    const uid = ((await read(space, "persistentvolumeclaims", "disk"))["metadata"] as Json)["uid"];
    const way = await keep(client, space, [claim({ tier: "data" })]);
    await walk(client, parsed(claim({ tier: "data" })), { defaultNamespace: space.name });
    // As the binder does for its first pod: what was before cannot be written any more.
    await space.kubectl(["patch", "pvc", "disk", "--patch", JSON.stringify({ spec: { volumeName: uniqueName("volume") } })]);
    expect(words(await way.back(true))).toEqual([
      expect.stringMatching(/^left PersistentVolumeClaim disk .*spec: Forbidden: spec is immutable/),
    ]);
    expect((await read(space, "persistentvolumeclaims", "disk"))["metadata"]).toMatchObject({ uid });
    expect((await read(space, "persistentvolumeclaims", "disk"))["metadata"]).not.toHaveProperty("deletionTimestamp");
  });

  kubeTest("what is held by a finalizer is named with it, whether it is to go or to be made again", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const client = await clientOf(kube);
    const hold = (name: string): KubeObject => ({ ...configMap(name, { a: "1" }), metadata: { name, finalizers: ["example.com/hold"] } });
    await walk(client, parsed(hold("old")), { defaultNamespace: space.name });
    const way = await keep(client, space, [hold("old"), hold("new")]);
    await walk(client, parsed(hold("new")), { defaultNamespace: space.name });
    await space.kubectl(["delete", "configmap", "old", "--wait=false"]);
    const held = (name: string): string =>
      `ConfigMap ${space.name}/${name} is being deleted and is not gone after 1 s, held by the finalizers example.com/hold`;
    const last = new Map((await way.back(true)).map((one) => [one.target.ref.name, one]));
    expect([last.get("old")?.error?.message, last.get("new")?.error?.message]).toEqual([held("old"), held("new")]);
    for (const name of ["old", "new"])
      await space.kubectl(["patch", "configmap", name, "--type=json", "--patch", '[{"op":"remove","path":"/metadata/finalizers"}]']);
  });

  kubeTest("rights that putting back would take are asked for before", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace(kube);
    const limited = await clientOf(
      kube,
      await space.kubeconfigWith([{ apiGroups: [""], resources: ["configmaps"], verbs: ["get", "create", "patch"] }]),
    );
    const plan = await planObjects(limited, parsed(configMap(uniqueName("new"), {})), { defaultNamespace: space.name });
    const save = (): Promise<void> => Promise.resolve();
    const { needs } = await takeSnapshot(limited, plan.objects, { save, mayDelete: false });
    expect(await refusal(demandRights(limited, needs, "it is needed", undefined))).toMatchObject({
      code: "FORBIDDEN",
      message: `the account may not delete configmaps in namespace ${space.name}, and it is needed`,
    });
    await demandRights(await clientOf(kube), needs, "it is needed", undefined);
    const named = { apiGroups: [""], resources: ["configmaps"], resourceNames: [plan.objects[0]?.ref.name ?? ""], verbs: ["delete"] };
    await demandRights(await clientOf(kube, await space.kubeconfigWith([named])), needs, "it is needed", undefined);
  });
});
