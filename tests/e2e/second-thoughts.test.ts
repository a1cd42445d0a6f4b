import { expect } from "bun:test";
import { eventually } from "../support/eventually.ts";
import { freshNamespace } from "../support/kube.ts";
import { compiledKubeTest } from "../support/process.ts";
import { Stack } from "../support/stack.ts";

compiledKubeTest("what runs is called back at a safe point, says what it had done, and is tried again as the next revision", async () => {
  await using namespace = await freshNamespace();
  await using stack = await Stack.start({ compiled: true, kubeconfig: namespace.kube.kubeconfigPath });
  // It is applied, and then waited for: its pods report that the image cannot be pulled.
  const id = await stack.submit(
    [
      `apiVersion: apps/v1
kind: Deployment
metadata: {name: unpullable, namespace: ${namespace.name}}
spec:
  selector: {matchLabels: {app: unpullable}}
  template:
    metadata: {labels: {app: unpullable}, annotations: {transporter.dev/image-error: "true"}}
    spec: {containers: [{name: main, image: registry.example/nowhere}]}
`,
    ],
    {},
    { verify_timeout: "90s" },
  );
  await eventually(async () => (await namespace.get("deployment", "unpullable")) !== undefined);
  const cancelled = await stack.run(["cancel", id, "--wait"]);
  expect(cancelled).toMatchObject({ exitCode: 0, stdout: `event/${id} cancelled\n` });
  const first = await stack.ended(id);
  expect(first).toMatchObject({ state: "cancelled", revision: 1 });
  // What was done is told, because nothing takes it back.
  expect(first.result?.resource_status?.[0]).toMatchObject({ kind: "Deployment", name: "unpullable", status: "created" });
  const again = await stack.run(["retry", id, "--wait=false"]);
  expect(again).toMatchObject({ exitCode: 0, stdout: `event/${id} accepted as revision 2\n` });
  // The second is under way, so it cannot be tried a third time yet.
  expect((await stack.run(["retry", id, "--wait=false"])).exitCode).toBe(5);
  await eventually(async () => {
    const response = await fetch(`${stack.url}/v1/events/${id}`);
    return ((await response.json()) as { phase: string }).phase === "verifying";
  });
  expect((await stack.run(["cancel", id, "--wait"])).exitCode).toBe(0);
  const second = await stack.ended(id);
  expect(second).toMatchObject({ state: "cancelled", revision: 2 });
  expect(second.result?.resource_status?.[0]).toMatchObject({ status: "unchanged" });
  // One end each, and the first one's story stays readable.
  const ends = second.log.filter(({ state }) => state === "cancelled").map(({ revision }) => revision);
  expect(ends).toEqual([1, 2]);
});
