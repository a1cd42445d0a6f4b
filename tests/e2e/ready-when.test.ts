import { expect } from "bun:test";
import { configMap, tell } from "../stories/story.ts";
import { freshNamespace } from "../support/kube.ts";
import { compiledKubeTest } from "../support/process.ts";
import { Stack } from "../support/stack.ts";

compiledKubeTest("the executable judges readiness by expressions, in a thread of its own", async () => {
  await using namespace = await freshNamespace();
  await using stack = await Stack.start({ compiled: true, kubeconfig: namespace.kube.kubeconfigPath });
  const map = (state: string): unknown => configMap(namespace.name, "switch", { state });
  const broken = await tell(stack, [map("off")], { ready_when: [{ kind: "ConfigMap", ready: "self.data.state ==" }] });
  expect(broken.code).toBe("INVALID_EXPRESSION");
  expect(broken.told).toContain('payload.ready_when[0].ready "self.data.state ==": Unexpected token: EOF');
  expect(await namespace.get("configmap", "switch")).toBeUndefined();
  const rule = { kind: "ConfigMap", name: "switch", ready: "self.data.state == 'on'", failed: "self.data.state == 'broken'" };
  const off = await tell(stack, [map("off")], { ready_when: [rule], verify_timeout: "2s" });
  expect(off.code).toBe("VERIFY_TIMEOUT");
  expect(off.told).toContain(`not ready after 2 s: ConfigMap ${namespace.name}/switch: not yet so: self.data.state == 'on'`);
  expect(off.object("switch")).toMatchObject({ status: "created" });
  const failed = await tell(stack, [map("broken")], { ready_when: [rule] });
  expect(failed.code).toBe("VERIFY_FAILED");
  expect(failed.told).toContain("it has failed by payload.ready_when[0].failed: self.data.state == 'broken'");
  const on = await tell(stack, [map("on")], { ready_when: [rule, { kind: "Secret", ready: "true" }] });
  expect(on.detail.state).toBe("completed");
  expect(on.told).toContain("payload.ready_when[1] (Secret) is for no object of this event");
});
