import { describe, expect } from "bun:test";
import type { Schema } from "../../src/k8s/http/schema.ts";
import type { KubeClient } from "../../src/k8s/mod.ts";
import { freshNamespace, kubeTest, sharedKube, uniqueName, STRANGER_TOKEN } from "../support/kube.ts";
import { eventually } from "../support/eventually.ts";
import { clientOf } from "./walk.ts";

async function at(client: KubeClient, group: string, version: string, kind: string, path: string): Promise<Schema | undefined> {
  let here = await client.openApi.schemaOf({ group, version, kind });
  for (const step of path.split("/").filter((one) => one !== "")) here = step === "*" ? here?.item() : here?.field(step);
  return here;
}

function crd(group: string, plural: string, kind: string, key: string): Record<string, unknown> {
  const entry = { type: "object", required: [key], properties: { [key]: { type: "string" }, zone: { type: "string", default: "here" } } };
  const rules = {
    type: "array",
    items: { ...entry, required: [key] },
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": [key, "zone"],
  };
  const spec = {
    type: "object",
    properties: { rules, tags: { type: "array", items: { type: "string" }, "x-kubernetes-list-type": "set" } },
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { plural, singular: kind.toLowerCase(), kind },
      versions: [{ name: "v1", served: true, storage: true, schema: { openAPIV3Schema: { type: "object", properties: { spec } } } }],
    },
  };
}

describe("what the API server publishes of its kinds", () => {
  kubeTest("merge keys of built-in lists, with the defaults that stand for a key left out", async () => {
    const client = await clientOf(await sharedKube());
    const pod = "/spec/template/spec";
    const list = async (path: string): Promise<unknown> => (await at(client, "apps", "v1", "Deployment", path))?.list;
    expect(await list(`${pod}/containers`)).toEqual({ type: "map", keys: [{ name: "name", default: "" }] });
    expect(await list(`${pod}/containers/*/ports`)).toEqual({
      type: "map",
      keys: [
        { name: "containerPort", default: 0 },
        { name: "protocol", default: "TCP" },
      ],
    });
    expect(await list(`${pod}/containers/*/env`)).toEqual({ type: "map", keys: [{ name: "name", default: "" }] });
    expect(await list(`${pod}/containers/*/args`)).toEqual({ type: "atomic" });
    expect(await list("/metadata/finalizers")).toEqual({ type: "set" });
    expect(await list("/metadata/ownerReferences")).toEqual({ type: "map", keys: [{ name: "uid", default: "" }] });
    expect(await list("/spec/replicas")).toBeUndefined();
    expect((await at(client, "apps", "v1", "Deployment", "/spec/selector"))?.atomicMap).toBe(true);
    expect((await at(client, "apps", "v1", "Deployment", "/metadata/labels/anything"))?.list).toBeUndefined();
    expect(await at(client, "apps", "v1", "Deployment", "/spec/no-such-field")).toBeUndefined();
    // The core group, and a list that is keyed by two fields there.
    expect((await at(client, "", "v1", "Service", "/spec/ports"))?.list).toEqual({
      type: "map",
      keys: [
        { name: "port", default: 0 },
        { name: "protocol", default: "TCP" },
      ],
    });
    expect(await client.openApi.schemaOf({ group: "no.such.group", version: "v1", kind: "Nothing" })).toBeUndefined();
  });

  kubeTest("one group and version is read once, and the small index again only when something is new", async () => {
    const inner = await clientOf(await sharedKube());
    const read: string[] = [];
    const send = inner.send.bind(inner);
    inner.send = (request) => {
      if (request.path.startsWith("/openapi")) read.push(request.path.replace(/\?.*/, ""));
      return send(request);
    };
    await Promise.all(["Deployment", "StatefulSet", "DaemonSet"].map((kind) => at(inner, "apps", "v1", kind, "/spec")));
    expect(read.toSorted()).toEqual(["/openapi/v3", "/openapi/v3/apis/apps/v1"]);
    await at(inner, "apps", "v1", "Deployment", "/spec");
    expect(read).toHaveLength(2);
    await at(inner, "", "v1", "Pod", "/spec");
    expect(read.slice(2)).toEqual(["/openapi/v3/api/v1"]);
    // A group that is not there is looked for once more, in case it is new.
    await at(inner, "not.there.example", "v1", "Pod", "");
    expect(read.slice(3)).toEqual(["/openapi/v3"]);
  });

  kubeTest("a definition that comes later, and one that changes", async () => {
    const kube = await sharedKube();
    const client = await clientOf(kube);
    const group = `${uniqueName("schemas")}.example.com`;
    await at(client, "apps", "v1", "Deployment", "");
    const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    expect((await kube.request("POST", definitions, crd(group, "plans", "Plan", "host"))).status).toBe(201);
    try {
      const rules = (): Promise<Schema | undefined> => at(client, group, "v1", "Plan", "/spec/rules");
      const first = await eventually(rules, { what: "the schema of a new kind" });
      expect(first.list).toEqual({ type: "map", keys: [{ name: "host" }, { name: "zone", default: "here" }] });
      expect((await at(client, group, "v1", "Plan", "/spec/tags"))?.list).toEqual({ type: "set" });
      expect(
        (await kube.request("PUT", `${definitions}/plans.${group}`, await changed(kube, `${definitions}/plans.${group}`))).status,
      ).toBe(200);
      // Whoever sees the kinds anew sees their schemas anew.
      await eventually(
        async () => {
          await client.discovery.refresh();
          return JSON.stringify((await rules())?.list).includes('"path"');
        },
        { what: "the changed schema" },
      );
    } finally {
      await kube.request("DELETE", `${definitions}/plans.${group}`);
    }
  });

  async function changed(kube: Awaited<ReturnType<typeof sharedKube>>, path: string): Promise<Record<string, unknown>> {
    const now = (await (await kube.request("GET", path)).json()) as { metadata: Record<string, unknown>; spec: Record<string, unknown> };
    const group = String(now.spec["group"]);
    return { ...crd(group, "plans", "Plan", "path"), metadata: now.metadata };
  }

  kubeTest("an account without any right of its own reads it too", async () => {
    const kube = await sharedKube();
    await using space = await freshNamespace();
    const client = await clientOf(kube, await kube.kubeconfigFor("stranger", STRANGER_TOKEN, space.name));
    expect((await at(client, "", "v1", "Pod", "/spec/volumes"))?.list).toEqual({ type: "map", keys: [{ name: "name", default: "" }] });
  });
});
