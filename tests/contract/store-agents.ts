import { describe, expect, test } from "bun:test";
import { aClaim, anAgent, anAudit, T0, TENANT } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

export function agentContract(subject: Subject): void {
  describe("agents", () => {
    test("an agent comes back as it registered, and is replaced by its next registration without losing its pause", async () => {
      const { store } = subject;
      const agent = anAgent("agent-1", {
        clockOffsetMs: -12.5,
        registration: { labels: { a: "b" }, metadata: { deep: { x: [1] } }, boot_id: "b1", unknown_field: { kept: true } },
      });
      await store.claimAgent({ agent, replicaId: "r", seenEpoch: 0 }, anAudit({ action: "agent_connected", agentId: "agent-1" }));
      const stored = { ...agent, epoch: 1, replicaId: "r" };
      expect(await store.getAgent(TENANT, "agent-1")).toEqual({ ...stored, paused: false });
      expect((await store.listAudit({ tenant: TENANT, action: "agent_connected", limit: 5 })).items.length).toBe(1);
      expect(await store.setPaused(TENANT, "agent-1", true, anAudit({ action: "agent_paused" }))).toEqual({ ...stored, paused: true });
      const again = anAgent("agent-1", { connectedAtMs: T0 + 5, lastSeenMs: T0 + 5, registration: { version: "9" } });
      const claimed = await store.claimAgent({ agent: again, replicaId: "s", seenEpoch: 1 }, anAudit());
      expect(claimed).toMatchObject({ epoch: 2, paused: true });
      expect(await store.getAgent(TENANT, "agent-1")).toEqual({ ...again, epoch: 2, replicaId: "s", paused: true });
      expect(await store.setPaused(TENANT, "agent-1", false, anAudit())).toMatchObject({ epoch: 2, replicaId: "s", paused: false });
      expect(await store.getAgent("other", "agent-1")).toBeUndefined();
    });

    test("an unknown agent cannot be paused, and that leaves no audit entry", async () => {
      expect(await subject.store.setPaused(TENANT, "nobody", true, anAudit({ action: "agent_paused" }))).toBeUndefined();
      expect((await subject.store.listAudit({ tenant: TENANT, limit: 5 })).items).toEqual([]);
    });

    test("many are touched at once; those that are gone stay gone, and are told", async () => {
      const { store } = subject;
      await Promise.all(Array.from({ length: 200 }, (_, at) => store.claimAgent(aClaim(`agent-${at}`), anAudit())));
      const others = await store.touchAgents(
        Array.from({ length: 201 }, (_, at) => ({
          tenant: TENANT,
          id: `agent-${at}`,
          epoch: 1,
          status: "unhealthy" as const,
          lastSeenMs: T0 + at,
          clockOffsetMs: at,
        })),
      );
      expect(others).toEqual([{ tenant: TENANT, id: "agent-200" }]);
      expect(await store.getAgent(TENANT, "agent-77")).toMatchObject({ status: "unhealthy", lastSeenMs: T0 + 77, clockOffsetMs: 77 });
      expect(await store.getAgent(TENANT, "agent-200")).toBeUndefined();
      expect(await store.touchAgents([])).toEqual([]);
    });

    test("in pages, by cluster and tenant", async () => {
      const { store } = subject;
      for (const id of ["a", "b", "c", "d", "e"])
        await store.importAgent(anAgent(id, { registration: { cluster_name: id < "c" ? "one" : "two" } }));
      await store.importAgent(anAgent("foreign", { tenant: "other" }));
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

    test("one from elsewhere is stored as it was, once, and has had no connection here", async () => {
      const { store } = subject;
      const agent = anAgent("moved", { status: "disconnected", connectedAtMs: undefined, disconnectedAtMs: T0 - 9 });
      expect(await store.importAgent(agent)).toBe(true);
      expect(await store.getAgent(TENANT, "moved")).toEqual({ ...agent, paused: false, epoch: 0, replicaId: undefined });
      expect(await store.importAgent({ ...agent, principal: "somebody else" })).toBe(false);
      expect((await store.getAgent(TENANT, "moved"))?.principal).toBe(agent.principal);
      expect((await store.claimAgent(aClaim("moved"), anAudit())).epoch).toBe(1);
      expect(await store.importAgent(agent)).toBe(false);
      expect(await store.getAgent(TENANT, "moved")).toMatchObject({ status: "connected", epoch: 1, replicaId: "replica-1" });
    });
  });
}
