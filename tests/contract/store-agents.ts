import { describe, expect, test } from "bun:test";
import { anAgent, anAudit, T0, TENANT } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

export function agentContract(subject: Subject): void {
  describe("agents", () => {
    test("an agent comes back as it registered, and is replaced by its next registration without losing its pause", async () => {
      const { store } = subject;
      const agent = anAgent("agent-1", {
        clockOffsetMs: -12.5,
        registration: { labels: { a: "b" }, metadata: { deep: { x: [1] } }, boot_id: "b1", unknown_field: { kept: true } },
      });
      await store.saveAgent(agent, anAudit({ action: "agent_connected", agentId: "agent-1" }));
      expect(await store.getAgent(TENANT, "agent-1")).toEqual({ ...agent, paused: false });
      expect((await store.listAudit({ tenant: TENANT, action: "agent_connected", limit: 5 })).items.length).toBe(1);
      expect(await store.setPaused(TENANT, "agent-1", true, anAudit({ action: "agent_paused" }))).toEqual({ ...agent, paused: true });
      const again = anAgent("agent-1", {
        status: "disconnected",
        connectedAtMs: undefined,
        disconnectedAtMs: T0 + 5,
        registration: { version: "9" },
      });
      await store.saveAgent(again);
      expect(await store.getAgent(TENANT, "agent-1")).toEqual({ ...again, paused: true });
      expect(await store.setPaused(TENANT, "agent-1", false, anAudit())).toEqual({ ...again, paused: false });
      expect(await store.getAgent("other", "agent-1")).toBeUndefined();
    });

    test("an unknown agent cannot be paused, and that leaves no audit entry", async () => {
      expect(await subject.store.setPaused(TENANT, "nobody", true, anAudit({ action: "agent_paused" }))).toBeUndefined();
      expect((await subject.store.listAudit({ tenant: TENANT, limit: 5 })).items).toEqual([]);
    });

    test("many are touched at once; those that are gone stay gone", async () => {
      const { store } = subject;
      await Promise.all(Array.from({ length: 200 }, (_, at) => store.saveAgent(anAgent(`agent-${at}`))));
      await store.touchAgents(
        Array.from({ length: 201 }, (_, at) => ({
          tenant: TENANT,
          id: `agent-${at}`,
          status: "unhealthy" as const,
          lastSeenMs: T0 + at,
          clockOffsetMs: at,
        })),
      );
      expect(await store.getAgent(TENANT, "agent-77")).toMatchObject({ status: "unhealthy", lastSeenMs: T0 + 77, clockOffsetMs: 77 });
      expect(await store.getAgent(TENANT, "agent-200")).toBeUndefined();
    });

    test("in pages, by cluster and tenant", async () => {
      const { store } = subject;
      for (const id of ["a", "b", "c", "d", "e"])
        await store.saveAgent(anAgent(id, { registration: { cluster_name: id < "c" ? "one" : "two" } }));
      await store.saveAgent(anAgent("foreign", { tenant: "other" }));
      const page = async (cursor?: string) => store.listAgents({ tenant: TENANT, limit: 2, ...(cursor === undefined ? {} : { cursor }) });
      const first = await page();
      const second = await page(first.nextCursor);
      const third = await page(second.nextCursor);
      expect([first, second, third].map((part) => part.items.map((agent) => agent.id))).toEqual([["a", "b"], ["c", "d"], ["e"]]);
      expect(third.nextCursor).toBeUndefined();
      expect((await store.listAgents({ tenant: TENANT, clusterName: "two", limit: 50 })).items.map((agent) => agent.id)).toEqual([
        "c",
        "d",
        "e",
      ]);
      expect((await store.listAgents({ tenant: TENANT, clusterName: "' OR 1=1 --", limit: 50 })).items).toEqual([]);
    });

    test("nobody is connected after a restart", async () => {
      const { store } = subject;
      await store.saveAgent(anAgent("was-there"));
      await store.saveAgent(anAgent("was-gone", { status: "disconnected", disconnectedAtMs: T0 - 1 }));
      await store.disconnectAll(T0 + 100);
      expect(await store.getAgent(TENANT, "was-there")).toMatchObject({ status: "disconnected", disconnectedAtMs: T0 + 100 });
      expect(await store.getAgent(TENANT, "was-gone")).toMatchObject({ status: "disconnected", disconnectedAtMs: T0 - 1 });
    });
  });
}
