import { describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { failpoint, listenToFailpoints } from "../../src/kit/mod.ts";
import { Disk, DiskPool } from "./disk.ts";
import { CALM, Network } from "./network.ts";
import { Dice } from "./random.ts";
import { Life, World } from "./world.ts";

describe("dice", () => {
  test("give the same numbers for the same seed, others for its neighbour, and spread", () => {
    const draw = (seed: number): number[] => {
      const dice = new Dice(seed);
      return Array.from({ length: 1000 }, () => dice.float());
    };
    expect(draw(7)).toEqual(draw(7));
    expect(draw(7)).not.toEqual(draw(8));
    const mean = draw(7).reduce((sum, one) => sum + one, 0) / 1000;
    expect(mean).toBeGreaterThan(0.45);
    expect(mean).toBeLessThan(0.55);
    expect(Math.max(...draw(7))).toBeLessThan(1);
  });
});

describe("the world", () => {
  test("runs steps by time, and at one time in the order they were asked for, with promises settled in between", () => {
    const world = new World(1);
    const seen: string[] = [];
    world.after(20, undefined, "late", () => seen.push("late"));
    world.after(10, undefined, "first", () => {
      void (async () => {
        for (let turn = 0; turn < 30; turn += 1) await Promise.resolve();
        seen.push("its promise");
      })();
      seen.push("first");
    });
    world.after(10, undefined, "second", () => seen.push("second"));
    const cancelled = world.after(15, undefined, "cancelled", () => seen.push("cancelled"));
    cancelled.cancel();
    expect(world.runUntil(100)).toBe(false);
    expect(seen).toEqual(["first", "its promise", "second", "late"]);
    expect(world.step()).toBe(false);
  });

  test("keeps thousands of steps in order", () => {
    const world = new World(2);
    const dice = new Dice(2);
    const seen: number[] = [];
    for (let at = 0; at < 5_000; at += 1) {
      const ms = dice.float() * 1_000;
      world.after(ms, undefined, "one", () => seen.push(ms));
    }
    world.runUntil(1_000);
    expect(seen).toHaveLength(5_000);
    expect(seen).toEqual(seen.toSorted((a, b) => a - b));
  });

  test("lets nothing of a dead process happen", () => {
    const world = new World(3);
    const life = new Life("p", 1);
    const ports = world.portsOf(life, { offsetMs: 0 });
    const seen: string[] = [];
    ports.timers.after(10, () => seen.push("timer"));
    ports.timers.soon(() => seen.push("soon"));
    void ports.timers.sleep(5).then(() => seen.push("slept"));
    life.dead = true;
    ports.timers.after(0, () => seen.push("after death"));
    world.runUntil(100);
    expect(seen).toEqual([]);
  });

  test("gives each process a clock of its own that can jump, and one that cannot", () => {
    const world = new World(4);
    const wall = { offsetMs: 0 };
    world.nowMs = 500;
    const ports = world.portsOf(new Life("p", 1), wall);
    const before = ports.clock.now();
    wall.offsetMs = -60_000;
    world.nowMs = 600;
    expect(ports.clock.now()).toBe(before - 60_000 + 100);
    expect(ports.clock.monotonic()).toBe(100);
  });

  test("kills the process that is being stepped, at the point it came to, and no other", () => {
    const world = new World(5);
    const [one, two] = [new Life("one", 1), new Life("two", 1)];
    const killed: string[] = [];
    world.onFailpoint = () => true;
    world.kill = (life, why) => {
      life.dead = true;
      killed.push(`${life.name} at ${why}`);
    };
    listenToFailpoints((name) => world.failpoint(name));
    try {
      world.after(1, one, "step", () => void Promise.resolve().then(() => failpoint("cp.intake.checked")));
      world.after(2, one, "never", () => failpoint("cp.intake.committed"));
      world.after(3, two, "step", () => undefined);
      world.runUntil(10);
    } finally {
      listenToFailpoints(undefined);
    }
    expect(killed).toEqual(["one at cp.intake.checked"]);
  });

  test("cancels an interval from within itself", () => {
    const world = new World(6);
    const ports = world.portsOf(new Life("p", 1), { offsetMs: 0 });
    let times = 0;
    const timer = ports.timers.every(10, () => {
      times += 1;
      if (times === 3) timer.cancel();
    });
    world.runUntil(1_000);
    expect(times).toBe(3);
  });
});

describe("a disk", () => {
  function disk(): Disk {
    const database = new Database(":memory:");
    database.run("CREATE TABLE word (text TEXT)");
    return new Disk(database);
  }

  test("keeps what was committed and drops what was not", () => {
    const one = disk();
    const first = one.open();
    first.run("INSERT INTO word VALUES ('kept')");
    first.run("BEGIN");
    first.run("INSERT INTO word VALUES ('lost')");
    one.crash();
    expect(one.read<{ text: string }>("SELECT text FROM word")).toEqual([{ text: "kept" }]);
    const second = one.open();
    expect(second.query("SELECT text FROM word").all()).toEqual([{ text: "kept" }]);
  });

  test("is empty again when the pool hands it out once more", () => {
    const pool = new DiskPool(
      () => {
        const database = new Database(":memory:");
        database.run("CREATE TABLE word (text TEXT)");
        return database;
      },
      (database) => void database.run("DELETE FROM word"),
    );
    const one = pool.take();
    const database = one.open();
    database.run("INSERT INTO word VALUES ('old')");
    database.run("BEGIN");
    pool.giveBack();
    const again = pool.take();
    expect(again.open()).toBe(database);
    expect(again.read("SELECT text FROM word")).toEqual([]);
  });

  test("is opened by one at a time", () => {
    const one = disk();
    one.open();
    expect(() => one.open()).toThrow("in use");
  });
});

describe("a process that stands still", () => {
  test("does nothing, and does all that it slept through at once when it goes on, in order", () => {
    const world = new World(1);
    const [frozen, other] = [new Life("cp1", 1), new Life("cp2", 1)];
    const seen: string[] = [];
    const note = (text: string) => () => void seen.push(`${text} at ${world.nowMs}`);
    world.after(10, frozen, "", note("first"));
    world.after(20, frozen, "", note("second"));
    world.after(30, other, "", note("other"));
    world.after(100, other, "", () => undefined);
    frozen.stopped = true;
    world.asSoon(frozen, "", note("asked"));
    world.runUntil(100);
    expect(seen).toEqual(["other at 30"]);
    world.wake(frozen);
    world.runUntil(200);
    expect(seen).toEqual(["other at 30", "asked at 100", "first at 100", "second at 100"]);
  });

  test("does nothing more where it dies meanwhile", () => {
    const world = new World(1);
    const life = new Life("cp1", 1);
    const seen: string[] = [];
    world.after(10, life, "", () => void seen.push("never"));
    life.stopped = true;
    world.runUntil(50);
    life.dead = true;
    world.wake(life);
    world.runUntil(100);
    expect(seen).toEqual([]);
  });
});

describe("the network", () => {
  function connect(seed: number) {
    const world = new World(seed);
    const network = new Network(world);
    const [server, agent] = [new Life("cp", 1), new Life("a1", 1)];
    const seen: string[] = [];
    let send: (text: string) => number = () => 0;
    network.listeners.set("cp", {
      life: server,
      handlers: {
        open: (socket) => {
          send = (text) => socket.sendText(text);
          seen.push("server open");
        },
        message: (_socket, text) => void seen.push(`server got ${String(text)}`),
        drain: () => void seen.push("drained"),
        close: (_socket, code) => void seen.push(`server closed ${code}`),
      },
    });
    const socket = network.dial(agent, "a1", "cp", {
      handlers: {
        open: () => void seen.push("agent open"),
        message: (text) => void seen.push(`agent got ${text}`),
        alive: () => void seen.push("alive"),
        close: (code) => void seen.push(`agent closed ${code}`),
      },
    });
    world.runUntil(1_000);
    return { world, network, server, agent, socket, seen, send: (text: string) => send(text) };
  }

  test("brings frames in order in both directions", () => {
    const { world, socket, seen, send } = connect(1);
    for (let at = 0; at < 3; at += 1) {
      socket.send(`up ${at}`);
      send(`down ${at}`);
    }
    world.runUntil(2_000);
    expect(seen.filter((line) => line.startsWith("server got"))).toEqual(["server got up 0", "server got up 1", "server got up 2"]);
    expect(seen.filter((line) => line.startsWith("agent got"))).toEqual(["agent got down 0", "agent got down 1", "agent got down 2"]);
  });

  test("loses, repeats and reorders frames where the weather says so, and counts it", () => {
    const { world, network, socket, seen } = connect(2);
    network.weather = { ...CALM, drop: 1 };
    socket.send("lost");
    network.weather = { ...CALM, duplicate: 1 };
    socket.send("twice");
    world.runUntil(3_000);
    expect(seen.filter((line) => line === "server got twice")).toHaveLength(2);
    expect(seen).not.toContain("server got lost");
    expect(network.counts).toMatchObject({ dropped: 1, duplicated: 1 });
  });

  test("tells both sides of a cut, and neither at once", () => {
    const { world, network, seen } = connect(3);
    for (const link of network.links) network.cut(link, false);
    world.runUntil(100_000);
    expect(seen).toContain("agent closed 1006");
    expect(seen).toContain("server closed 1006");
    expect(network.links.size).toBe(0);
  });

  test("lets a half-open link swallow one direction", () => {
    const { world, network, socket, seen, send } = connect(4);
    for (const link of network.links) network.halfOpen(link, "up");
    socket.send("into the void");
    send("still heard");
    world.runUntil(5_000);
    expect(seen).toContain("agent got still heard");
    expect(seen).not.toContain("server got into the void");
  });

  test("says when a slow agent does not keep up, and when it has taken all", () => {
    const { world, network, seen, send } = connect(5);
    network.weather = { ...CALM, slow: 1 };
    expect(send("x".repeat(100))).toBe(-1);
    expect(seen).not.toContain("drained");
    world.runUntil(world.nowMs + 500);
    expect(seen).toContain("drained");
    network.weather = CALM;
    expect(send("quick")).toBe(5);
  });

  test("closes what a dead process had open", () => {
    const { world, network, server, seen } = connect(6);
    server.dead = true;
    network.lost(server, false);
    world.runUntil(5_000);
    expect(seen).toContain("agent closed 1006");
    expect(network.listenerOf("cp")).toBeUndefined();
  });
});
