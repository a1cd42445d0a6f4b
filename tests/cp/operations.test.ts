import { describe, expect, test } from "bun:test";
import { ANONYMOUS } from "../../src/security/mod.ts";
import { ableAgent, configMap, startBareCore, startSite } from "../support/bare-core.ts";

const OPERATIONS = { capabilities: ["k8s_crud", "k8s_operations"] };
/** As 0.1 registers: neither protocol nor features, and what it can do as 0.1 says it. */
const LIKE_0_1 = { version: "0.1.0" };

function deleting(name: string): Record<string, unknown> {
  return { operation: "delete", manifests: [configMap(name)] };
}

function naming(name: string): Record<string, unknown> {
  return { api_version: "v1", kind: "ConfigMap", namespace: "web", name };
}

async function pause(cp: Awaited<ReturnType<typeof startBareCore>>): Promise<void> {
  const audit = { tenant: "default", atMs: 0, principal: "test", action: "agent_paused" };
  await cp.during(cp.store.setPaused("default", "agent-1", true, audit));
  await cp.during(cp.core.gateway.changed("agent-1"));
}

/** Every way in which a payload can say more than 0.1 knows. */
const SAYS_MORE: Readonly<Record<string, Record<string, unknown>>> = {
  create: { operation: "create", manifests: [configMap("a")] },
  delete: deleting("a"),
  restart: { operation: "restart", references: [naming("a")] },
  patch: { operation: "patch", patches: [{ ...naming("a"), type: "merge", patch: "{}" }] },
  diff: { operation: "diff", manifests: [configMap("a")] },
  ignore_fields: { manifests: [configMap("a")], ignore_fields: [{ pointers: ["/data/a"] }] },
  on_immutable: { manifests: [configMap("a")], on_immutable: "recreate" },
  on_failure: { manifests: [configMap("a")], on_failure: "rollback" },
  ready_when: { manifests: [configMap("a")], ready_when: [{ ready: "true" }] },
  service_account: { manifests: [configMap("a")], service_account: "web/deployer" },
  impersonate: { manifests: [configMap("a")], impersonate: { user: "jane" } },
  plan: { manifests: [configMap("a")], plan: "p1-0" },
  annotations: {
    manifests: [configMap("b"), configMap("a").replace("metadata:", 'metadata: {annotations: {transporter.dev/wave: "1"}}\n#')],
  },
};

describe("an event that says more than 0.1 knows", () => {
  for (const [name, payload] of Object.entries(SAYS_MORE)) {
    test(`goes to an agent that knows operations, and to no other: ${name}`, async () => {
      const cp = await startBareCore();
      const [old, plain, able] = [
        await cp.connect({ ...LIKE_0_1, id: "old" }),
        await cp.connect(ableAgent({ id: "plain" })),
        await cp.connect(ableAgent({ id: "able", ...OPERATIONS })),
      ];
      for (const agent of ["old", "plain", "able"]) await cp.submit({ id: `for-${agent}`, target_agent: agent, payload });
      await cp.advance(100);
      expect([old.events(), plain.events(), able.events()]).toEqual([[], [], ["for-able"]]);
      for (const agent of ["old", "plain"]) {
        const { summary, result } = await cp.event(`for-${agent}`);
        expect(summary.state).toBe("failed");
        expect(result?.error_code).toBe("CAPABILITY_MISSING");
        expect(result?.error_message).toContain(`agent ${agent} has no capability k8s_operations`);
      }
      expect((await cp.event("for-able")).summary.operation).toBe((payload["operation"] as "create" | undefined) ?? "apply");
    });
  }

  test("stands in the audit as what it is", async () => {
    const cp = await startBareCore();
    await cp.submit({ id: "delete", payload: deleting("a") }, { id: "apply" });
    const { items } = await cp.during(cp.store.listAudit({ tenant: "default", action: "event_received_http", limit: 10 }));
    expect(items.map(({ event_id, details }) => [event_id, details])).toEqual([
      ["apply", undefined],
      ["delete", { operation: "delete" }],
    ]);
  });

  test("arrives with every field that it came with", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect(ableAgent(OPERATIONS));
    const payload = { ...SAYS_MORE["ready_when"], force_conflicts: true, service_account: "web/deployer", later: { field: 1 } };
    await cp.submit({ id: "one", payload });
    await cp.advance(100);
    expect(agent.ofType("event").map((frame) => (frame["event"] as { payload: unknown }).payload)).toEqual([payload]);
  });
});

test("a plain apply says nothing of an operation and goes to everybody, also where it says so", async () => {
  const cp = await startBareCore();
  const old = await cp.connect(LIKE_0_1);
  await cp.submit({ id: "one", payload: { operation: "apply", manifests: [configMap("a")], references: null } });
  await cp.advance(100);
  expect(old.events()).toEqual(["one"]);
  expect((await cp.event("one")).summary).not.toHaveProperty("operation");
});

describe("what waits for its agent", () => {
  test("is kept until it comes, and then given only to one that knows operations", async () => {
    const cp = await startBareCore();
    await cp.submit({ id: "delete", payload: deleting("a") }, { id: "apply", object: "b" });
    expect((await cp.event("delete")).summary).toMatchObject({ state: "queued", operation: "delete" });
    const able = await cp.connect(ableAgent(OPERATIONS));
    await cp.advance(100);
    expect(able.events()).toEqual(["delete", "apply"]);
  });

  test("ends with the reason where an agent comes that does not know operations, and what waits behind it goes on", async () => {
    const cp = await startBareCore();
    await cp.submit({ id: "delete", payload: deleting("a") }, { id: "apply", object: "b" });
    const old = await cp.connect(LIKE_0_1);
    await cp.advance(100);
    expect(old.events()).toEqual(["apply"]);
    expect((await cp.event("delete")).result?.error_code).toBe("CAPABILITY_MISSING");
  });

  test("is kept while delivery to an agent is paused that cannot do it: it may be upgraded meanwhile", async () => {
    const cp = await startBareCore();
    const old = await cp.connect(ableAgent());
    await pause(cp);
    await cp.submit({ id: "delete", payload: deleting("a") });
    await cp.advance(100);
    expect((await cp.event("delete")).summary.state).toBe("queued");
    old.hangUp();
  });

  test("waits for its time first, and is judged by the agent that is there then", async () => {
    const cp = await startBareCore();
    const old = await cp.connect(ableAgent());
    await cp.submit({ id: "delete", payload: deleting("a"), delay: "1h" });
    await cp.advance(1_000);
    expect((await cp.event("delete")).summary.state).toBe("queued");
    old.hangUp();
    await cp.advance(10);
    const able = await cp.connect(ableAgent({ boot_id: "boot-2", ...OPERATIONS }));
    await cp.advance(3_600_000);
    expect(able.events()).toEqual(["delete"]);
  });
});

test("a large one, whose payload lies apart, is held back just the same", async () => {
  const cp = await startBareCore();
  const old = await cp.connect(ableAgent());
  const large = `${configMap("large")}data: {text: ${"x".repeat(400_000)}}\n`;
  await cp.submit({ id: "delete", payload: { operation: "delete", manifests: [large] } });
  await cp.advance(100);
  expect(old.events()).toEqual([]);
  expect((await cp.event("delete")).result?.error_code).toBe("CAPABILITY_MISSING");
});

test("one that was handed over is not given again to an agent that came back as one that does not know operations", async () => {
  const cp = await startBareCore();
  const able = await cp.connect(ableAgent(OPERATIONS));
  await cp.submit({ id: "delete", payload: deleting("a") });
  await cp.advance(100);
  able.ack("delete");
  able.hangUp();
  await cp.advance(10);
  const old = await cp.connect(ableAgent({ boot_id: "boot-2" }));
  await cp.advance(100);
  expect(old.events()).toEqual([]);
  expect((await cp.event("delete")).result?.error_code).toBe("CAPABILITY_MISSING");
});

test("nor to one that claims to hold it and then has lost it", async () => {
  const cp = await startBareCore();
  const old = await cp.connect(ableAgent());
  await pause(cp);
  await cp.submit({ id: "delete", payload: deleting("a") });
  old.send({ type: "open", deliveries: [{ event_id: "delete", revision: 1, state: "waiting" }] });
  await cp.advance(100);
  old.send({ type: "open", deliveries: [] });
  await cp.advance(100);
  expect(old.events()).toEqual([]);
  expect((await cp.event("delete")).result?.error_code).toBe("CAPABILITY_MISSING");
});

test("a retried revision is judged like the first", async () => {
  const cp = await startBareCore();
  const able = await cp.connect(ableAgent(OPERATIONS));
  await cp.submit({ id: "delete", payload: deleting("a") });
  await cp.advance(100);
  able.complete("delete");
  await cp.advance(100);
  able.hangUp();
  await cp.advance(10);
  const old = await cp.connect(ableAgent({ boot_id: "boot-2" }));
  const source = {
    principal: ANONYMOUS,
    remoteAddress: "",
    requestId: "",
    traceparent: undefined,
  };
  await cp.during(cp.core.intake.retry("delete", source));
  await cp.advance(100);
  expect(old.events()).toEqual([]);
  expect(await cp.event("delete")).toMatchObject({
    summary: { state: "failed", revision: 2, operation: "delete" },
    result: { error_code: "CAPABILITY_MISSING" },
  });
});

test("what came in at another control plane is judged by the one that has the agent", async () => {
  const site = await startSite();
  const a = await startBareCore({ site, replicaId: "cp-a" });
  const b = await startBareCore({ site, replicaId: "cp-b" });
  const [old, able] = [
    await b.connect(ableAgent({ id: "old" })),
    await b.connect(ableAgent({ id: "able", boot_id: "boot-2", ...OPERATIONS })),
  ];
  await a.submit(
    { id: "for-old", target_agent: "old", payload: deleting("a") },
    { id: "for-able", target_agent: "able", payload: deleting("a") },
  );
  await b.advance(3_000);
  expect([old.events(), able.events()]).toEqual([[], ["for-able"]]);
  expect((await a.event("for-old")).result?.error_code).toBe("CAPABILITY_MISSING");
});

describe("the order of what touches the same object", () => {
  async function orderOf(payload: Record<string, unknown>): Promise<string[]> {
    const cp = await startBareCore({ maxInFlight: 1 });
    await cp.submit({ id: "before", object: "shared" }, { id: "other" });
    await cp.submit({ id: "named", priority: 5, payload });
    await cp.submit({ id: "after", object: "shared", priority: 9 });
    const agent = await cp.connect(ableAgent(OPERATIONS));
    for (let done = 0; done < 4; done += 1) {
      agent.complete(agent.events()[done] ?? "");
      await cp.advance(100);
    }
    return agent.events();
  }

  test("is kept by references, patches, and a manifest beside a reference", async () => {
    const kept = ["before", "named", "after", "other"];
    expect(await orderOf({ operation: "delete", references: [naming("shared")] })).toEqual(kept);
    expect(await orderOf({ operation: "restart", manifests: [configMap("else")], references: [naming("shared")] })).toEqual(kept);
    expect(await orderOf({ operation: "patch", patches: [{ ...naming("shared"), type: "json", patch: "[]" }] })).toEqual(kept);
  });

  test("is kept by the name of a namespace, for all that is in it", async () => {
    const references = [{ ...naming("web"), kind: "Namespace", namespace: null }];
    expect(await orderOf({ operation: "delete", references })).toEqual(["before", "other", "named", "after"]);
  });

  test("is nobody's business where they name something else", async () => {
    expect(await orderOf({ operation: "delete", references: [naming("else")] })).toEqual(["before", "after", "named", "other"]);
  });
});
