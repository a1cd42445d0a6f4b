import { afterAll, describe, expect } from "bun:test";
import { type EventDetail, isTerminal } from "../../src/protocol/mod.ts";
import { eventFrame } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { scriptedCp } from "../support/scripted-cp.ts";
import { dialAgent, protocol2 } from "../support/wire-agent.ts";
import { CURRENT, type Previous, previousVersion, upgradeTest, type Version } from "./previous.ts";
import { configMap, Site } from "./site.ts";

interface PageOf<T> {
  readonly items: readonly T[];
  readonly next_cursor?: string;
}

let previous: Previous | undefined;
/** Laid out when it is first needed, so that a clone without history fails in the tests that need it. */
async function old(): Promise<Version> {
  previous ??= await previousVersion();
  return previous.version;
}
afterAll(async () => {
  await previous?.[Symbol.asyncDispose]();
});

describe("a store that the version before wrote", () => {
  upgradeTest("opens, with everything that was in it, and all of it goes on", async () => {
    await using site = await Site.make();
    await site.startCp(await old());
    await site.startAgent(await old(), "worker");

    // Ended, in every way there is.
    const sent = await site.submit("worker", "completed-1", { labels: { team: "a" }, priority: 3, deadline: "10m", created_by: "me" });
    await site.submit("worker", "refused-1");
    for (let at = 0; at < 12; at += 1) await site.submit("worker", `more-${at}`);
    await site.submit("away", "cancelled-1");
    expect((await fetch(`${site.url}/v1/events/cancelled-1`, { method: "DELETE" })).status).toBe(200);
    await site.submit("away", "expired-1", { ttl: "1s" });
    await site.in("completed-1", "completed");
    await site.in("refused-1", "failed");
    for (let at = 0; at < 12; at += 1) await site.in(`more-${at}`, "completed");
    await site.in("expired-1", "expired", 40_000);
    // Waiting: for an agent that is away, small and large, urgent and not; and for one that is paused.
    for (const [id, parts, bytes] of [
      ["queued-1", {}, 10],
      ["queued-urgent", { priority: 9 }, 10],
      ["queued-large", {}, 400_000],
    ] as const)
      await site.submit("away", id, parts, bytes);
    await site.startAgent(await old(), "paused");
    expect((await fetch(`${site.url}/v1/agents/paused/pause`, { method: "POST" })).status).toBe(200);
    await site.submit("paused", "paused-1");
    // Handed over: never answered for, begun, and in the middle of being carried out.
    const mute = await dialAgent(site.wsUrl, protocol2({ id: "mute" }));
    await site.submit("mute", "assigned-1");
    await mute.event("assigned-1");
    const half = await dialAgent(site.wsUrl, protocol2({ id: "half" }));
    await site.submit("half", "begun-1");
    await half.event("begun-1");
    half.report("begun-1", "received");
    await site.hold("worker");
    await site.submit("worker", "held-1");
    await site.submit("worker", "held-2");
    await site.in("held-1", "in_progress");
    await site.in("held-2", "in_progress");
    await site.in("begun-1", "in_progress");

    const ids = [
      "completed-1",
      "refused-1",
      "cancelled-1",
      "expired-1",
      "queued-1",
      "queued-urgent",
      "queued-large",
      "paused-1",
      "assigned-1",
    ];
    ids.push("begun-1", "held-1", "held-2", ...Array.from({ length: 12 }, (_, at) => `more-${at}`));
    const before = new Map<string, EventDetail>();
    for (const id of ids) before.set(id, await site.detail(id));
    const firstPage = await site.get<PageOf<{ id: string }>>("/v1/events?limit=5");
    const agentsBefore = await site.get<PageOf<{ id: string; paused: boolean }>>("/v1/agents");
    const countersBefore = await site.get<{ events: { total: number } }>("/metrics");
    const auditBefore = await site.get<PageOf<{ action: string }>>("/v1/audit?limit=500");
    const lastSeq = Math.max(...[...before.values()].flatMap((detail) => detail.log.map((entry) => entry.seq)));
    await site.endCp("SIGKILL");
    mute.close();
    half.close();

    await site.startCp(CURRENT);
    // What had ended is there, word for word; what is open is where it was, or further.
    for (const [id, was] of before) {
      const is = await site.detail(id);
      expect(is.log.slice(0, was.log.length)).toEqual(was.log);
      if (["completed", "failed", "cancelled", "expired"].includes(was.state)) {
        expect({ id, state: is.state, result: is.result, labels: is.labels }).toEqual({
          id,
          state: was.state,
          result: was.result,
          labels: was.labels,
        });
        expect(is.log).toHaveLength(was.log.length);
      }
    }
    expect((await site.detail("completed-1")) as unknown).toMatchObject({ priority: 3, created_by: "me", deadline: 600_000_000_000 });
    // A listing goes on at the place where the version before had stopped: nothing twice, nothing left out.
    const rest = await site.get<PageOf<{ id: string }>>(`/v1/events?limit=500&cursor=${encodeURIComponent(firstPage.next_cursor ?? "")}`);
    expect([...firstPage.items, ...rest.items].map((item) => item.id).toSorted()).toEqual(ids.toSorted());
    expect((await site.get<{ events: { total: number } }>("/metrics")).events.total).toBe(countersBefore.events.total);
    const audit = await site.get<PageOf<{ action: string }>>("/v1/audit?limit=500");
    expect(audit.items.length).toBeGreaterThanOrEqual(auditBefore.items.length);
    expect((await site.get<{ paused: boolean }>("/v1/agents/paused")).paused).toBe(true);
    expect((await site.get<PageOf<{ id: string }>>("/v1/agents")).items.map((agent) => agent.id)).toEqual(
      agentsBefore.items.map(({ id }) => id),
    );
    // The same content is the same event for this version too; other content is not.
    expect((await site.post(sent)).status).toBe(202);
    expect((await site.post({ ...sent, priority: 4 })).status).toBe(409);
    expect((await site.get<{ events: { total: number } }>("/metrics")).events.total).toBe(countersBefore.events.total);

    // What was handed over is handed over again, what waits goes out, what was held goes on, at agents of both versions.
    await site.letGo("worker");
    await using mute2 = await dialAgent(site.wsUrl, protocol2({ id: "mute" }));
    await mute2.event("assigned-1");
    mute2.report("assigned-1");
    await using half2 = await dialAgent(site.wsUrl, protocol2({ id: "half" }));
    await half2.event("begun-1");
    half2.report("begun-1");
    await site.startAgent(CURRENT, "away");
    expect((await fetch(`${site.url}/v1/agents/paused/resume`, { method: "POST" })).status).toBe(200);
    for (const id of ["assigned-1", "begun-1", "queued-1", "queued-urgent", "queued-large", "paused-1", "held-1", "held-2"]) {
      const detail = await site.in(id, "completed");
      // Numbers go on from where they were.
      const added = detail.log.slice(before.get(id)?.log.length ?? 0).map((entry) => entry.seq);
      expect(added.length).toBeGreaterThan(0);
      expect(Math.min(...added)).toBeGreaterThan(lastSeq);
    }
    expect(await site.effects("away")).toEqual(["queued-1", "queued-large", "queued-urgent"]);
    expect(await site.effects("paused")).toEqual(["paused-1"]);
    expect(await site.effects("worker")).toEqual(
      ["completed-1", "held-1", "held-2", ...Array.from({ length: 12 }, (_, at) => `more-${at}`)].toSorted(),
    );
    // One that had failed can be tried again now.
    const retried = await fetch(`${site.url}/v1/events/refused-1/retry`, { method: "POST" });
    expect(retried.status).toBe(202);
    await eventually(async () => {
      const detail = await site.detail("refused-1");
      return detail.state === "failed" && detail.log.length > (before.get("refused-1")?.log.length ?? 0);
    });
  });
});

describe("versions side by side", () => {
  const together = (name: string, cp: () => Promise<Version>, agent: () => Promise<Version>): void =>
    upgradeTest(name, async () => {
      await using site = await Site.make();
      await site.startCp(await cp());
      await site.startAgent(await agent(), "one");
      const ids: string[] = [];
      const submit = async (count: number, bytes = 10): Promise<void> => {
        for (let at = 0; at < count; at += 1) {
          const id = `event-${ids.length}`;
          await site.submit("one", id, {}, bytes);
          ids.push(id);
        }
      };
      await submit(10);
      await submit(1, 600_000);
      for (const id of ids) await site.in(id, "completed");
      // The agent ends on purpose, then without warning, with events in its hands.
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        await site.hold("one");
        await submit(6);
        await site.in(ids.at(-6) ?? "", "in_progress");
        await site.endAgent("one", signal);
        await submit(3);
        await site.letGo("one");
        await site.startAgent(await agent(), "one");
        for (const id of ids) await site.in(id, "completed");
      }
      // The control plane does the same.
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        await site.hold("one");
        await submit(6);
        await site.in(ids.at(-6) ?? "", "in_progress");
        await site.endCp(signal);
        await site.letGo("one");
        await site.startCp(await cp());
        await submit(2);
        for (const id of ids) await site.in(id, "completed");
      }
      expect(await site.effects("one")).toEqual(ids.toSorted());
      // An agent that is asked again says again how it ended; the log may have it twice, but no other end beside it.
      for (const id of ids) {
        const ends = (await site.detail(id)).log.filter((entry) => isTerminal(entry.state)).map((entry) => entry.state);
        expect({ id, ends: [...new Set(ends)] }).toEqual({ id, ends: ["completed"] });
      }
    });
  together("an agent of the version before with this control plane", () => Promise.resolve(CURRENT), old);
  together("this agent with a control plane of the version before", old, () => Promise.resolve(CURRENT));
});

describe("a ledger that the version before wrote", () => {
  upgradeTest("is read by this agent: what was unfinished goes on, what was not acknowledged is told, nothing is done again", async () => {
    await using site = await Site.make();
    await using cp = await scriptedCp({ protocol: 2 });
    cp.acknowledging = false;
    await site.startAgent(await old(), "agent-cluster-agent-1", cp.url);
    const first = await cp.connection();
    first.send(eventFrame("done", [configMap("done")]));
    const end = await cp.ended("done");
    await site.hold("agent-cluster-agent-1");
    first.send(eventFrame("held", [configMap("held")]));
    // Touches the same object, so that it waits behind.
    first.send(eventFrame("behind", [configMap("held"), configMap("behind")]));
    await eventually(() => cp.statuses("held").some((status) => status["phase"] === "applying"), { what: "held to be applied" });
    await eventually(() => cp.frames("event_ack").some((ack) => ack["event_id"] === "behind"), { what: "behind to be recorded" });
    const told = cp.statuses("done").length;
    await site.endAgent("agent-cluster-agent-1", "SIGKILL");
    await site.letGo("agent-cluster-agent-1");

    cp.acknowledging = true;
    await site.startAgent(CURRENT, "agent-cluster-agent-1", cp.url);
    // The steps before its end were not acknowledged either, and may come first.
    const again = await eventually(
      () =>
        cp
          .statuses("done")
          .slice(told)
          .find((status) => status["state"] === "completed"),
      { what: "the end of done, told again" },
    );
    expect({ boot: again["boot_id"], seq: again["seq"] }).toEqual({ boot: end["boot_id"], seq: end["seq"] });
    await cp.ended("held");
    await cp.ended("behind");
    // Handed over once more, as by a control plane that has lost the acknowledgement: it is answered and not done.
    (await cp.connection(1)).send(eventFrame("done", [configMap("done")]));
    const answered = cp.statuses("done").length;
    await eventually(() => cp.statuses("done").length > answered, { what: "an answer about done" });
    expect(await site.effects("agent-cluster-agent-1")).toEqual(["behind", "done", "held", "held"]);
  });
});
