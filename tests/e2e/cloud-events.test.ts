import { expect } from "bun:test";
import { CloudEvent, HTTP, type Message } from "cloudevents";
import type { EventDetail } from "../../src/protocol/mod.ts";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { Stack } from "../support/stack.ts";

type Json = Record<string, unknown>;

kubeTest(
  "CloudEvents make an object in a cluster, take it away again, and tell of both",
  async () => {
    await using namespace = await freshNamespace();
    await using stack = await Stack.start({ compiled: false, kubeconfig: namespace.kube.kubeconfigPath });
    const name = "from-cloudevents";
    const manifest = `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${name}\n  namespace: ${namespace.name}\ndata: {a: b}\n`;
    const send = async ({ headers, body }: Message): Promise<{ readonly id: string; readonly ended: EventDetail }> => {
      const response = await fetch(`${stack.url}/v1/events`, {
        method: "POST",
        headers: headers as Record<string, string>,
        body: body as string,
      });
      expect([response.status, await response.clone().text()]).toMatchObject([202, expect.any(String)]);
      const { event_id: id } = (await response.json()) as { event_id: string };
      return { id, ended: await stack.ended(id) };
    };
    const cloudEvent = (payload: Json): CloudEvent<Json> =>
      new CloudEvent<Json>({
        source: "/e2e",
        type: "dev.transporter.event.v1",
        datacontenttype: "application/json",
        data: { type: "k8s_resource", target_agent: stack.agentId, payload },
      });
    const standing = (): Promise<unknown> => namespace.get("configmap", name);

    const made = await send(HTTP.binary(cloudEvent({ manifests: [manifest] })));
    expect(made.ended).toMatchObject({ state: "completed", result: { resource_status: [{ name, status: "created" }] } });
    expect(await standing()).toMatchObject({ data: { a: "b" } });

    const reference = { api_version: "v1", kind: "ConfigMap", namespace: namespace.name, name };
    const taken = await send(HTTP.structured(cloudEvent({ operation: "delete", references: [reference] })));
    expect(taken.ended).toMatchObject({
      state: "completed",
      operation: "delete",
      result: { resource_status: [{ name, status: "deleted" }] },
    });
    expect(await standing()).toBeUndefined();

    const text = await (await fetch(`${stack.url}/v1/events/${taken.id}/stream?format=cloudevents`)).text();
    const told = [...text.matchAll(/^data: (\{"specversion.*)$/gm)].map(([, json]) => new CloudEvent<Json>(JSON.parse(json ?? "") as Json));
    expect(told.at(-1)).toMatchObject({ type: "dev.transporter.event.status.v1", subject: taken.id, data: { state: "completed" } });
    expect(told.length).toBe(taken.ended.log.length);
  },
  120_000,
);
