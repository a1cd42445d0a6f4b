import { describe, expect } from "bun:test";
import { kubeTest, type Namespace } from "../support/kube.ts";
import { configMapWith, manifest, operating } from "./operate.ts";

type Json = Record<string, unknown>;

async function whole(space: Namespace, path: string): Promise<Json> {
  return (await (await space.kube.request("GET", path.replace("NS", space.name))).json()) as Json;
}

/** Without what differs between any two objects. */
function essence(object: Json): Json {
  const {
    uid: _uid,
    resourceVersion: _version,
    creationTimestamp: _made,
    name: _name,
    managedFields,
    ...rest
  } = object["metadata"] as Json;
  const managers = (managedFields as Json[])
    .filter((entry) => entry["subresource"] === undefined)
    .map(({ time: _time, manager: _manager, ...entry }) => entry);
  return { ...object, metadata: { ...rest, managedFields: managers }, status: undefined };
}

describe("create", () => {
  kubeTest("makes what kubectl create makes, bookkeeping included", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    const service = (name: string): Json => ({
      apiVersion: "v1",
      kind: "Service",
      metadata: { name, namespace, labels: { app: "x" }, resourceVersion: "1" },
      spec: { type: "ExternalName", externalName: "example.test" },
    });
    const role = (name: string): Json => ({
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "Role",
      metadata: { name, namespace },
      rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }],
    });
    const settings = (name: string): Json => configMapWith(name, namespace, { annotations: { a: "b" } });
    const ended = await on.run({ operation: "create", manifests: [service, role, settings].map((make) => manifest(make("ours"))) });
    expect(ended.told).toEqual(["created Service ours", "created Role ours", "created ConfigMap ours"]);
    for (const make of [service, role, settings]) await on.space.kubectl(["create", "--filename=-"], manifest(make("theirs")));
    for (const path of [
      "/api/v1/namespaces/NS/services",
      "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles",
      "/api/v1/namespaces/NS/configmaps",
    ]) {
      const [ours, theirs] = [await whole(on.space, `${path}/ours`), await whole(on.space, `${path}/theirs`)];
      expect(essence(ours)).toEqual(essence(theirs));
    }
  });

  kubeTest("of what exists is refused before anything is made, and says since when it does", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    await on.space.kubectl(["create", "configmap", "there"]);
    const manifests = [manifest(configMapWith("new", namespace)), manifest(configMapWith("there", namespace))];
    const ended = await on.run({ operation: "create", manifests });
    expect(ended.code).toBe("ALREADY_EXISTS");
    expect(ended.message).toMatch(new RegExp(`^ConfigMap ${namespace}/there exists already, since 20\\d\\d-\\d\\d-\\d\\dT[\\d:]+Z$`));
    expect(ended.told).toEqual(["pending ConfigMap new", "failed ConfigMap there"]);
    expect(await on.space.get("configmap", "new")).toBeUndefined();
    // The same again after it was done is refused, too: it did not make these.
    await on.run({ operation: "create", manifests: manifests.slice(0, 1) });
    expect((await on.run({ operation: "create", manifests: manifests.slice(0, 1) })).code).toBe("ALREADY_EXISTS");
  });

  kubeTest("brings its own namespace along, and what it makes a later apply may change and take keys from", async () => {
    await using on = await operating();
    const { name: namespace } = on.space;
    const made = await on.run({ operation: "create", manifests: [manifest(configMapWith("grown", namespace, {}, { a: "1", b: "2" }))] });
    expect(made.state).toBe("completed");
    const applied = await on.run({ manifests: [manifest(configMapWith("grown", namespace, {}, { a: "3" }))] });
    expect(applied.told).toEqual(["updated ConfigMap grown"]);
    expect(((await on.space.get("configmap", "grown")) as Json)["data"]).toEqual({ a: "3" });
  });
});
