import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/protocol/mod.ts";
import { ableAgent, configMap, startBareCore } from "../support/bare-core.ts";

/** With this an event's payload lies apart. */
const FILLER = `${configMap("filler")}data: {text: ${"x".repeat(LIMITS.payloadApartBytes)}}\n`;

describe("order of hand-over", () => {
  test("the urgent go first, in order of acceptance inside a priority", async () => {
    const cp = await startBareCore({ maxInFlight: 2 });
    await cp.submit({ id: "low-1" }, { id: "low-2" }, { id: "high-1", priority: 9 }, { id: "high-2", priority: 9 });
    const agent = await cp.connect();
    expect(agent.events()).toEqual(["high-1", "high-2"]);
    agent.complete("high-1");
    agent.complete("high-2");
    await cp.advance(100);
    expect(agent.events()).toEqual(["high-1", "high-2", "low-1", "low-2"]);
  });

  test("the urgent lends its priority to those that touch the same object and were accepted before it, transitively", async () => {
    const cp = await startBareCore({ maxInFlight: 1 });
    await cp.submit(
      { id: "other-1" },
      { id: "first", object: "shared" },
      { id: "other-2" },
      {
        id: "second",
        payload: {
          manifests: [
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shared, namespace: web}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: more, namespace: web}\n",
          ],
        },
      },
      { id: "urgent", object: "more", priority: 5 },
      { id: "unrelated", priority: 3 },
    );
    const agent = await cp.connect();
    for (let done = 0; done < 6; done += 1) {
      const id = agent.events()[done];
      if (id === undefined) break;
      agent.complete(id);
      await cp.advance(100);
    }
    expect(agent.events()).toEqual(["first", "second", "urgent", "unrelated", "other-1", "other-2"]);
  });

  test("of eight places one goes to whoever waits longest", async () => {
    const cp = await startBareCore({ maxInFlight: 1 });
    const urgent = Array.from({ length: 20 }, (_, at) => ({ id: `urgent-${at}`, priority: 1 }));
    await cp.submit({ id: "patient-1" }, { id: "patient-2" }, ...urgent);
    const agent = await cp.connect();
    for (let done = 0; done < 17; done += 1) {
      agent.complete(agent.events()[done] ?? "");
      await cp.advance(100);
    }
    const places = agent.events();
    expect(places.indexOf("patient-1")).toBe(7);
    expect(places.indexOf("patient-2")).toBe(15);
  });

  test("what is most urgent is the first to go, and whoever waits longest goes with it", async () => {
    const cp = await startBareCore({ maxInFlight: 16 });
    const low = Array.from({ length: 20 }, (_, at) => ({ id: `low-${at}` }));
    const middle = Array.from({ length: 20 }, (_, at) => ({ id: `middle-${at}`, priority: 1 }));
    await cp.submit(...low, ...middle, { id: "urgent", priority: 2 });
    const agent = await cp.connect();
    expect(agent.events()).toHaveLength(16);
    expect(agent.events()[0]).toBe("urgent");
    expect(agent.events().slice(-2)).toEqual(["low-0", "low-1"]);
  });

  test("what cannot be parsed touches nothing and blocks nobody", async () => {
    const cp = await startBareCore({ maxInFlight: 1 });
    await cp.submit(
      { id: "broken", payload: { manifests: ["apiVersion: v1\nkind: [unclosed"] } },
      { id: "fine", object: "x" },
      { id: "urgent", object: "x", priority: 1 },
    );
    const agent = await cp.connect();
    for (let done = 0; done < 3; done += 1) {
      agent.complete(agent.events()[done] ?? "");
      await cp.advance(100);
    }
    expect(agent.events()).toEqual(["fine", "urgent", "broken"]);
  });

  test("nothing new finds room while what was refused it is on its way to the disk", async () => {
    const cp = await startBareCore({ maxInFlight: 1 });
    const agent = await cp.connect();
    await cp.submit({ id: "running", object: "x" });
    expect(agent.events()).toEqual(["running"]);
    // It is refused a place; before its commit the place becomes free and the next event asks.
    const older = cp.submitting({ id: "older" });
    cp.core.dispatcher.forget("agent-1", "running");
    const newer = cp.submitting({ id: "newer" });
    await cp.during(Promise.all([older, newer]));
    await cp.advance(50);
    agent.complete("older");
    await cp.advance(100);
    expect(agent.events()).toEqual(["running", "older", "newer"]);
  });

  test("of two that are committed together the earlier goes first, though its payload lies apart", async () => {
    const together: Promise<unknown>[] = [];
    const cp = await startBareCore({
      around: (store) => ({
        ...store,
        createEvent: (input) => {
          const created = store.createEvent(input);
          if (input.event.id === "large") together.push(cp.submitting({ id: "small", payload: { manifests: [configMap("x")] } }));
          return created;
        },
      }),
    });
    const agent = await cp.connect();
    together.push(cp.submitting({ id: "large", payload: { manifests: [configMap("x"), FILLER] } }));
    await cp.during(Promise.all(together));
    await cp.advance(50);
    expect(agent.ofType("event").map((frame) => "payload" in frame)).toEqual([true, false]);
    expect(agent.events()).toEqual(["large", "small"]);
  });

  test("what must be committed a second time goes behind what was accepted meanwhile", async () => {
    const others: Promise<unknown>[] = [];
    const cp = await startBareCore({
      maxInFlight: 1,
      around: (store) => ({
        ...store,
        createEvent: (input) => {
          if (input.event.id !== "large" || others.length > 0) return store.createEvent(input);
          // As when its payload was swept away just before. The only place is held for it, so this one has to wait.
          others.push(cp.submitting({ id: "small", payload: { manifests: [configMap("x")] } }));
          return Promise.resolve({ kind: "conflict" });
        },
      }),
    });
    const agent = await cp.connect();
    await cp.during(cp.submitting({ id: "large", payload: { manifests: [configMap("x"), FILLER] } }));
    await cp.during(Promise.all(others));
    await cp.advance(50);
    agent.complete("small");
    await cp.advance(50);
    expect(agent.events()).toEqual(["small", "large"]);
  });

  test("what was promised together and not sent waits again, so that nothing overtakes when the agent is back", async () => {
    const cp = await startBareCore();
    const agent = await cp.connect();
    const both = [cp.submitting({ id: "first" }), cp.submitting({ id: "second" })];
    agent.hangUp();
    cp.core.dispatcher.disconnected([...cp.core.registry.values()][0] as never);
    await cp.during(Promise.all(both));
    await cp.advance(50);
    expect(agent.events()).toEqual([]);
    expect((await cp.event("first")).summary.state).toBe("queued");
    expect((await cp.event("second")).summary.state).toBe("queued");
    const back = await cp.connect();
    expect(back.events()).toEqual(["first", "second"]);
  });

  test("after a crash between two that touch the same object the earlier goes first, though the later was handed over", async () => {
    const cp = await startBareCore({ maxInFlight: 4 });
    await cp.submit({ id: "earlier", object: "x" }, { id: "unrelated" }, { id: "later", object: "x" });
    // As a crash can leave it: the later was promised, the earlier waits.
    await cp.during(
      cp.store.moveDelivery({
        tenant: "default",
        eventId: "later",
        revision: 1,
        to: "assigned",
        epoch: 0,
        nowMs: cp.ports.clock.now(),
        message: "promised",
      }),
    );
    const agent = await cp.connect();
    expect(agent.events()).toEqual(["earlier", "later", "unrelated"]);
  });

  test("what was handed over goes again in the order accepted, whatever its priority", async () => {
    const cp = await startBareCore({ maxInFlight: 3 });
    const agent = await cp.connect();
    await cp.submit({ id: "a" }, { id: "b", priority: 5 }, { id: "c", priority: 9 });
    expect(agent.events()).toEqual(["a", "b", "c"]);
    agent.hangUp();
    await cp.advance(10);
    const back = await cp.connect();
    expect(back.events()).toEqual(["a", "b", "c"]);
  });

  test("a long queue of low priority is looked through in steps, and the urgent still wait for what they must", async () => {
    const cp = await startBareCore({ maxInFlight: 4 });
    const many = Array.from({ length: 250 }, (_, at) => ({ id: `low-${at}`, object: at === 120 ? "shared" : `own-${at}` }));
    await cp.submit(...many, { id: "urgent", object: "shared", priority: 1 });
    const agent = await cp.connect(ableAgent());
    await cp.advance(1_000);
    expect(agent.events().slice(0, 2)).toEqual(["low-120", "urgent"]);
  });

  test("a delayed event whose time has come is not overtaken by what was accepted after that", async () => {
    const cp = await startBareCore({ maxInFlight: 1 });
    await cp.submit({ id: "low-1" }, { id: "low-2" }, { id: "delayed", object: "shared", delay: "5s" });
    await cp.submit({ id: "low-3" }, { id: "high-1", priority: 1 }, { id: "high-2", priority: 1 });
    const agent = await cp.connect();
    // What waits has been looked through by now, the delayed one left out.
    agent.complete("high-1");
    await cp.advance(6_000);
    await cp.submit({ id: "urgent", object: "shared", priority: 9 });
    agent.complete("high-2");
    await cp.advance(100);
    expect(agent.events()).toEqual(["high-1", "high-2", "delayed"]);
    agent.complete("delayed");
    await cp.advance(100);
    expect(agent.events().at(-1)).toBe("urgent");
  });
});
