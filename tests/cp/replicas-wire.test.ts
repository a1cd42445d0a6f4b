import { describe, expect, test } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { type AgentPage, CLOSE, type EventDetail, type Replicas } from "../../src/protocol/mod.ts";
import { openStore } from "../../src/stores/mod.ts";
import { MapCluster, startTestAgent } from "../support/agent.ts";
import { configMap } from "../support/bare-core.ts";
import { anEvent, problem, startCp, type TestControlPlane } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { count } from "../support/prove.ts";
import { redisTest, sharedRedis } from "../support/redis.ts";
import { SharedStore, type Way } from "../support/shared-store.ts";
import { dialAgent } from "../support/wire-agent.ts";

interface Beside extends TestControlPlane {
  readonly way: Way;
}

interface Site extends AsyncDisposable {
  start(replicaId: string, options?: Parameters<typeof startCp>[0]): Promise<Beside>;
}

let prefixes = 0;

/** Control planes with all their doors over Redis, each with connections of its own. */
async function startRedisSite(): Promise<Site> {
  const server = await sharedRedis();
  prefixes += 1;
  const url = `${server.url}?prefix=replicas-${process.pid}-${prefixes}`;
  const running: TestControlPlane[] = [];
  return {
    async start(replicaId, options = {}) {
      const cp = await startCp({ replicaId, ...options, storeUrl: url });
      running.push(cp);
      return {
        ...cp,
        get way(): never {
          throw new Error("the way to Redis is not in the test's hands");
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(running.map((cp) => cp.stop()));
    },
  };
}

/** What holds whatever the store: over one in this process that relays words, and over Redis. */
function onBoth(name: string, run: (start: () => Promise<Site>) => Promise<void>): void {
  test(name, () => run(startSite), 30_000);
  redisTest(`${name}, over Redis`, () => run(startRedisSite), 30_000);
}

/** Control planes with all their doors over one real store in this process. */
async function startSite(): Promise<Site> {
  const shared = new SharedStore(await openStore("memory:", { ports: systemPorts, log: silentLogger }), systemPorts);
  const running: TestControlPlane[] = [];
  return {
    async start(replicaId, options = {}) {
      const way = shared.way();
      const cp = await startCp({ replicaId, ...options, store: way.store });
      running.push(cp);
      return { ...cp, way };
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(running.map((cp) => cp.stop()));
      await shared.real.close();
    },
  };
}

async function ended(cp: TestControlPlane, id: string): Promise<EventDetail> {
  return eventually(
    async () => {
      const detail = await cp.json<EventDetail>(`/v1/events/${id}`);
      return detail.state === "completed" ? detail : undefined;
    },
    { what: `the end of ${id}` },
  );
}

describe("three control planes over one store", () => {
  test("show the same registry, and each other", async () => {
    await using site = await startSite();
    const [a, b, c] = await Promise.all(["a", "b", "c"].map((id) => site.start(id, id === "b" ? { advertise: "http://b.example" } : {})));
    await using _x = await dialAgent(a?.wsUrl ?? "", { id: "x" });
    await using _y = await dialAgent(b?.wsUrl ?? "", { id: "y" });
    for (const cp of [a, b, c] as Beside[]) {
      await eventually(
        async () => {
          const { items } = await cp.json<AgentPage>("/v1/agents");
          expect(items.map(({ id, status, replica }) => [id, status, replica])).toEqual([
            ["x", "connected", "a"],
            ["y", "connected", "b"],
          ]);
          const { items: replicas } = await cp.json<Replicas>("/v1/replicas");
          expect(replicas.map(({ id, agents }) => [id, agents])).toEqual([
            ["a", 1],
            ["b", 1],
            ["c", 0],
          ]);
          expect(replicas[1]?.address).toBe("http://b.example");
          expect(replicas[0]?.address).toBe(a?.url ?? "");
          expect(await cp.json("/health")).toMatchObject({ agent_count: 2 });
          expect(await cp.json("/metrics")).toMatchObject({ agents: { connected: 2, total: 2 } });
          return true;
        },
        { what: "the same everywhere" },
      );
    }
    expect(await (await (c as Beside).get("/readyz?verbose")).text()).toContain("[+]lease ok, control planes: a, b, c");
    const prometheus = await (await (a as Beside).get("/metrics", { accept: "text/plain" })).text();
    expect(prometheus).toContain("transporter_replicas 3");
    expect(prometheus).toContain('transporter_replica_agents{replica="b"} 1');
    expect(prometheus).toContain('transporter_agents{status="connected"} 1');
    expect(prometheus).toContain("transporter_epoch_fences_total 0");
  });

  onBoth("a live stream shows what happens at another at once", async (start) => {
    await using site = await start();
    const [a, b] = [await site.start("a"), await site.start("b")];
    await using agent = await dialAgent(b.wsUrl);
    expect((await a.post("/v1/events", anEvent({ id: "one" }))).status).toBe(202);
    await agent.event("one");
    const following = (await a.get("/v1/events/one/stream")).text();
    agent.report("one");
    const text = await following;
    expect(text).toContain('"state":"completed"');
    expect(text).toContain("event: end");
  });

  test("a live stream of one event, and of all, shows what happens at another, by words and without them", async () => {
    await using site = await startSite();
    const [a, b] = [await site.start("a"), await site.start("b")];
    await using agent = await dialAgent(b.wsUrl);
    for (const id of ["told", "untold"]) {
      a.way.deaf = id === "untold";
      expect((await b.post("/v1/events", anEvent({ id }))).status).toBe(202);
      await agent.event(id);
      const beganMs = performance.now();
      const one = (await a.get(`/v1/events/${id}/stream`)).text();
      agent.report(id);
      const text = await one;
      expect(text).toContain('"state":"completed"');
      expect(text).toContain("event: end");
      // Without a word it is looked for once a second, and not only when the line that keeps the stream alive is due.
      expect(performance.now() - beganMs).toBeLessThan(3_500);
    }
    a.way.deaf = false;
    const all = await a.get("/v1/stream");
    const reader = all.body?.getReader();
    const decoder = new TextDecoder();
    expect((await b.post("/v1/events", anEvent({ id: "third" }))).status).toBe(202);
    let seen = "";
    while (!seen.includes('"event_id":"third"')) seen += decoder.decode((await reader?.read())?.value);
    await reader?.cancel();
  });

  onBoth("pause, resume, cancel, retry and remove through any of them", async (start) => {
    await using site = await start();
    const [a, b] = [await site.start("a"), await site.start("b")];
    const registration = { id: "agent-1", protocol: 2, features: ["ack", "cancel"], boot_id: "boot", seen_epoch: 0 };
    await using agent = await dialAgent(b.wsUrl, registration);
    await eventually(async () => (await a.get("/v1/agents/agent-1")).status === 200);
    expect(await (await a.post("/v1/agents/agent-1/pause", "")).json()).toMatchObject({ paused: true, replica: "b" });
    expect((await a.post("/v1/events", anEvent({ id: "one" }))).status).toBe(202);
    expect(await (await a.get("/v1/events/one")).json()).toMatchObject({ state: "queued" });
    expect((await a.post("/v1/agents/agent-1/resume", "")).status).toBe(200);
    await agent.event("one");
    expect((await a.delete("/v1/events/one")).status).toBe(202);
    expect(await agent.frame("cancel")).toMatchObject({ event_id: "one" });
    agent.end("one", "cancelled");
    await eventually(async () => (await a.json<EventDetail>("/v1/events/one")).state === "cancelled");
    expect((await a.post("/v1/events/one/retry", "")).status).toBe(202);
    await eventually(() => agent.deliveries("one") === 2, { what: "the second revision" });
    expect((await a.delete("/v1/agents/agent-1")).status).toBe(200);
    expect(await agent.closed).toMatchObject({ code: CLOSE.removed });
  });

  test("one whose store is away answers 503 at once, keeps its agents, and goes on when it is back", async () => {
    await using site = await startSite();
    const [a, b] = [await site.start("a"), await site.start("b")];
    await using agent = await dialAgent(a.wsUrl);
    await eventually(async () => (await b.get("/v1/agents/agent-1")).status === 200);
    a.way.away = true;
    const beganMs = performance.now();
    expect((await problem(await a.post("/v1/events", anEvent()), 503)).code).toBe("STORE_UNAVAILABLE");
    expect((await a.get("/readyz")).status).toBe(503);
    expect(performance.now() - beganMs).toBeLessThan(1_000);
    const event = anEvent();
    expect((await b.post("/v1/events", event)).status).toBe(202);
    a.way.away = false;
    await agent.event(event.id);
  });
});

describe("a control plane that stops", () => {
  test("is not ready, takes no agents, sends those it has on, and takes events until the end", async () => {
    await using site = await startSite();
    const a = await site.start("a", { drainMs: 700 });
    const b = await site.start("b");
    await using agent = await dialAgent(a.wsUrl, { protocol: 2, features: ["ack"], boot_id: "boot", seen_epoch: 0 });
    expect((await a.post("/v1/events", anEvent({ id: "held" }))).status).toBe(202);
    await agent.event("held");
    await eventually(async () => (await a.json<Replicas>("/v1/replicas")).items.length === 2, { what: "both in one registry" });
    agent.report("held", "received");
    const stopped = a.stop();
    const readyz = await a.get("/readyz");
    expect(readyz.status).toBe(503);
    const refused = await a.get("/ws", { upgrade: "websocket", connection: "upgrade" });
    expect(refused.status).toBe(503);
    expect(["0", "1"]).toContain(refused.headers.get("retry-after") ?? "");
    expect((await a.post("/v1/events", anEvent({ id: "late" }))).status).toBe(202);
    expect(await agent.closed).toMatchObject({ code: CLOSE.moveOn });
    // What it had said was stored before it was sent on.
    expect(agent.frames).toContainEqual({ type: "status_ack", boot_id: "boot", seq: 1 });
    await stopped;
    await using there = await dialAgent(b.wsUrl, { protocol: 2, features: ["ack"], boot_id: "boot", seen_epoch: 1 });
    await Promise.all([there.event("held"), there.event("late")]);
    await eventually(async () => {
      expect((await b.json<Replicas>("/v1/replicas")).items.map(({ id }) => id)).toEqual(["b"]);
      return true;
    });
  });

  onBoth("loses and repeats nothing under load, and leaves nothing lying, when each is replaced in turn", async (start) => {
    await using site = await start();
    const alive = new Map<string, Beside>();
    for (const id of ["a", "b", "c"]) alive.set(id, await site.start(id, { drainMs: 500 }));
    const ports = [...alive.values()].map((cp) => Number(new URL(cp.url).port));
    const cluster = new MapCluster();
    await using running = await startTestAgent({
      cpUrl: [...alive.values()].map((cp) => cp.wsUrl),
      cluster: { resources: cluster.resources },
    });
    const sent: string[] = [];
    const load = { on: true };
    const sending = (async () => {
      // On a busy machine the replacing is over before enough was sent.
      for (let at = 0; load.on || at < 50; at += 1) {
        const doors = [...alive.values()];
        const event = anEvent({
          id: `load-${at}`,
          target_agent: "agent-cluster-agent-1",
          payload: { manifests: [configMap(`load-${at}`)] },
        });
        const door = doors[at % doors.length] as Beside;
        if ((await door.post("/v1/events", event)).status !== 202) throw new Error(`event ${at} was refused`);
        sent.push(event.id);
        await Bun.sleep(5);
      }
    })();
    await eventually(() => cluster.objects.size > 10, { what: "the first events" });
    for (const [at, id] of ["a", "b", "c"].entries()) {
      const old = alive.get(id) as Beside;
      // Whoever spreads the requests sees that it is not ready.
      alive.delete(id);
      await old.stop();
      alive.set(id, await site.start(`${id}-new`, { drainMs: 500, port: ports[at] as number }));
    }
    load.on = false;
    await sending;
    const [door] = [...alive.values()] as [Beside];
    let slowestMs = 0;
    for (const id of sent) {
      const detail = await ended(door, id);
      slowestMs = Math.max(slowestMs, Date.parse(detail.finished_at ?? "") - Date.parse(detail.received_at));
    }
    expect(sent.length).toBeGreaterThan(40);
    for (const id of sent) expect([id, cluster.objects.get(id)]).toEqual([id, 1]);
    // The two seconds are held where nothing else uses the machine.
    expect(slowestMs).toBeLessThan(count(20_000, 2_000));
    expect(running.agent.state().registrations).toBeGreaterThan(1);
  });
});

describe("an agent that knows several addresses", () => {
  test("goes to the next when the one that it has dies, within five seconds, and does nothing twice", async () => {
    await using site = await startSite();
    const [a, b] = [await site.start("a"), await site.start("b")];
    const cluster = new MapCluster();
    await using running = await startTestAgent({
      cpUrl: [a.wsUrl, b.wsUrl],
      cluster: { resources: cluster.resources },
      // Which of them is first is drawn.
      ports: { ...systemPorts, random: { float: () => 0 } },
    });
    await eventually(() => running.agent.state().link === "registered");
    const event = anEvent({ target_agent: "agent-cluster-agent-1", payload: { manifests: [configMap("one")] } });
    const open = Promise.withResolvers<void>();
    cluster.gates.set("one", open.promise);
    await a.post("/v1/events", event);
    await eventually(() => cluster.history.includes("start one"));
    const beganMs = performance.now();
    // As when its process is killed: the store hears nothing of it.
    const dead = Promise.withResolvers<void>();
    a.way.frozen = dead.promise;
    void a.stop();
    await eventually(() => running.agent.state().registrations === 2, { what: "the second registration" });
    expect(performance.now() - beganMs).toBeLessThan(5_000);
    open.resolve();
    await ended(b, event.id);
    expect(cluster.objects.get("one")).toBe(1);
    a.way.frozen = undefined;
    dead.resolve();
  });
});
