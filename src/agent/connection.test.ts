import { describe, expect, test } from "bun:test";
import { type LogFields, type Logger, silentLogger, manualPorts, type ManualPorts } from "../kit/mod.ts";
import type { Dialer, SocketHandlers } from "../net/mod.ts";
import { Connection } from "./connection.ts";
import type { RegistrationReply } from "../protocol/mod.ts";
import { type AgentIdentity, readReply, registrationFrame } from "./registration.ts";

const REGISTERED = JSON.stringify({ status: "registered", message: "ok", protocol: "2", features: "ack" });
const REGISTERED_01 = JSON.stringify({ status: "registered", message: "ok" });

interface FakeSocket {
  readonly url: string;
  readonly handlers: SocketHandlers;
  readonly sent: string[];
  readonly atMs: number;
  pings: number;
  closedWith: number | undefined;
  terminated: boolean;
}

interface Rig {
  readonly time: ManualPorts;
  readonly sockets: FakeSocket[];
  readonly connection: Connection;
  readonly frames: string[];
  readonly lines: string[];
  readonly last: () => FakeSocket;
  /** Opens the newest socket and answers its registration. */
  readonly register: (reply?: string) => FakeSocket;
  /** How long it waits before it dials again. */
  readonly untilNextDial: () => Promise<number>;
}

function rig(
  options: {
    readonly random?: () => number;
    readonly open?: unknown;
    readonly urls?: readonly string[];
    readonly admit?: (epoch: number) => Promise<boolean>;
  } = {},
): Rig {
  const time = manualPorts(options.random === undefined ? {} : { random: options.random });
  const sockets: FakeSocket[] = [];
  const frames: string[] = [];
  const lines: string[] = [];
  const dialer: Dialer = (url, { handlers }) => {
    const socket: FakeSocket = {
      url,
      handlers,
      sent: [],
      atMs: time.ports.clock.monotonic(),
      pings: 0,
      closedWith: undefined,
      terminated: false,
    };
    sockets.push(socket);
    return {
      send: (text) => (socket.sent.push(text), true),
      ping: () => (socket.pings += 1),
      close: (code) => (socket.closedWith = code),
      terminate() {
        if (socket.terminated) return;
        socket.terminated = true;
        handlers.close(1006, "", "terminated");
      },
      bufferedBytes: 0,
    };
  };
  const log: Logger = {
    ...silentLogger,
    info: (line: string) => lines.push(line),
    warn: (line: string) => lines.push(line),
    error: (line: string, fields?: LogFields) => lines.push(`${line} ${JSON.stringify(fields)}`),
  };
  const connection = new Connection({
    urls: options.urls ?? ["ws://cp/ws"],
    admit: options.admit ?? (() => Promise.resolve(true)),
    dialer,
    dialOptions: () => ({}),
    register: () => "REGISTRATION",
    heartbeatIntervalMs: 10_000,
    heartbeat: () => (options.open === undefined ? {} : { open: options.open }),
    ports: time.ports,
    log,
    onRegistered: () => lines.push("registered"),
    onFrame: (text) => frames.push(text),
    onLost: () => lines.push("lost"),
  });
  const last = (): FakeSocket => {
    const socket = sockets.at(-1);
    if (socket === undefined) throw new Error("nothing was dialled");
    return socket;
  };
  return {
    time,
    sockets,
    connection,
    frames,
    lines,
    last,
    register(reply = REGISTERED) {
      const socket = last();
      socket.handlers.open();
      socket.handlers.message(reply);
      return socket;
    },
    async untilNextDial() {
      const began = time.ports.clock.monotonic();
      const count = sockets.length;
      for (let at = 0; at < 70_000 && sockets.length === count; at += 1) await time.advance(10);
      return last().atMs - began;
    },
  };
}

describe("the registration", () => {
  const identity: AgentIdentity = {
    id: "agent-cluster-agent-1",
    name: "agent-cluster-agent-1",
    clusterName: "agent-cluster",
    clusterProvider: "kind",
    region: "local",
    version: "0.1.0",
    labels: {},
    hostname: "agent-0",
    namespace: "default",
  };

  test("begins exactly as 0.1's does, byte for byte, and ours comes after", () => {
    const theirs =
      '{"id":"agent-cluster-agent-1","name":"agent-cluster-agent-1","cluster_name":"agent-cluster","cluster_provider":"kind","region":"local","version":"0.1.0","capabilities":["k8s_crud"],"hostname":"agent-0","namespace":"default"';
    const now = { bootId: "boot", nowMs: Date.parse("2026-01-01T00:00:00Z"), credit: { deliveries: 64, bytes: 1000 }, seenEpoch: 7 };
    const frame = registrationFrame(identity, { ...now, capabilities: ["k8s_crud"] });
    expect(JSON.parse(registrationFrame(identity, now))).toMatchObject({ capabilities: ["k8s_crud", "k8s_operations"] });
    expect(frame.startsWith(`${theirs},`)).toBe(true);
    expect(JSON.parse(frame)).toMatchObject({
      protocol: 2,
      features: ["ack", "credit", "cancel", "chunk", "resync"],
      boot_id: "boot",
      sent_at: "2026-01-01T00:00:00.000Z",
      credit: { deliveries: 64, bytes: 1000 },
      seen_epoch: 7,
    });
    expect(JSON.parse(registrationFrame({ ...identity, labels: { a: "b" } }, now))).toMatchObject({ labels: { a: "b" } });
    expect(JSON.parse(registrationFrame(identity, { ...now, capabilities: ["k8s_crud", "script_exec"] }))).toMatchObject({
      capabilities: ["k8s_crud", "script_exec"],
    });
  });

  test("tells a 0.1 control plane from ours by its answer", () => {
    const agreed = (reply: RegistrationReply): unknown => {
      const verdict = readReply(reply);
      return verdict.kind === "registered" ? { ...verdict.agreement, features: [...verdict.agreement.features] } : verdict;
    };
    expect(agreed(JSON.parse(REGISTERED_01))).toEqual({ protocol: 0, acknowledges: false, features: [] });
    expect(agreed(JSON.parse(REGISTERED))).toEqual({ protocol: 2, acknowledges: true, features: ["ack"] });
    expect(agreed({ status: "registered", protocol: "2", features: "ack, chunk,resync,teleport" })).toEqual({
      protocol: 2,
      acknowledges: true,
      features: ["ack", "chunk", "resync"],
    });
    // Nothing of ours works without acknowledgements.
    expect(agreed({ status: "registered", protocol: "2", features: "chunk" })).toEqual({ protocol: 2, acknowledges: false, features: [] });
    expect(readReply({ status: "registered", protocol: "-1", features: "ack" })).toMatchObject({
      agreement: { protocol: 0, acknowledges: false },
    });
    expect(readReply({ error: "id is required" })).toEqual({ kind: "refused", message: "id is required" });
    expect(readReply({ hello: "there" })).toEqual({ kind: "not_a_reply" });
  });
});

describe("the link", () => {
  test("registers first, then beats every interval in 0.1's words", async () => {
    const { connection, register, time, lines } = rig();
    connection.start();
    const socket = register();
    expect(socket.sent).toEqual(["REGISTRATION"]);
    await time.advance(20_000);
    socket.handlers.alive();
    expect(socket.sent.slice(1)).toEqual([
      '{"metrics":{},"timestamp":"2026-01-01T00:00:10.000Z","type":"heartbeat"}',
      '{"metrics":{},"timestamp":"2026-01-01T00:00:20.000Z","type":"heartbeat"}',
    ]);
    expect(lines).toEqual(["Connected to Control Plane", "Agent registered successfully", "registered"]);
  });

  test("sends nothing before it is registered, and hands on no frame from before", () => {
    const { connection, last, frames } = rig();
    connection.start();
    expect(connection.send("x")).toBe(false);
    last().handlers.open();
    expect(connection.send("x")).toBe(false);
    expect(last().sent).toEqual(["REGISTRATION"]);
    last().handlers.message(REGISTERED);
    last().handlers.message("frame");
    expect(connection.send("x")).toBe(true);
    expect(frames).toEqual(["frame"]);
  });

  test("waits longer each time, within 15 s, evenly spread from zero", async () => {
    const { connection, last, sockets, untilNextDial } = rig({ random: () => 0.999999 });
    connection.start();
    const waits: number[] = [];
    for (let at = 0; at < 9; at += 1) {
      last().handlers.close(1006, "", "refused");
      waits.push(Math.round((await untilNextDial()) / 10) * 10);
    }
    expect(waits).toEqual([200, 400, 800, 1600, 3200, 6400, 12_800, 15_000, 15_000]);
    expect(sockets).toHaveLength(10);
    const lucky = rig({ random: () => 0 });
    lucky.connection.start();
    lucky.last().handlers.close(1006, "", "refused");
    await lucky.time.advance(0);
    expect(lucky.sockets).toHaveLength(2);
  });

  test("begins again with short waits only after five seconds of being registered", async () => {
    const { connection, last, register, time, untilNextDial } = rig({ random: () => 0.999999 });
    connection.start();
    for (let at = 0; at < 3; at += 1) {
      last().handlers.close(1006, "", undefined);
      await untilNextDial();
    }
    register();
    await time.advance(4_000);
    last().handlers.close(1006, "", undefined);
    expect(await untilNextDial()).toBeGreaterThan(1_500);
    register();
    await time.advance(5_100);
    last().handlers.close(1006, "", undefined);
    expect(await untilNextDial()).toBeLessThanOrEqual(2_010);
    last().handlers.close(1006, "", undefined);
    expect(await untilNextDial()).toBeLessThanOrEqual(210);
  });

  test("that had stood and is lost is dialled again within two seconds, evenly spread, so that thousands do not come as one", async () => {
    for (const [random, expected] of [
      [0, 0],
      [0.25, 500],
      [0.999999, 2_000],
    ] as const) {
      const { connection, last, register, time, untilNextDial } = rig({ random: () => random });
      connection.start();
      register();
      await time.advance(6_000);
      last().handlers.close(1001, "stopping", undefined);
      expect(Math.abs((await untilNextDial()) - expected)).toBeLessThanOrEqual(10);
    }
  });

  test.each([
    ["503 before the upgrade", 1006, "Expected 101 status code: 503"],
    ["1013 after it", 1013, undefined],
  ])("turned away with %s, it comes back spread over one to five seconds", async (_what, code, fault) => {
    const { connection, last, untilNextDial } = rig({ random: () => 0.999999 });
    connection.start();
    const waits: number[] = [];
    for (let at = 0; at < 5; at += 1) {
      last().handlers.close(code, "", fault);
      waits.push(Math.round((await untilNextDial()) / 10) * 10);
    }
    expect(waits).toEqual([1000, 2000, 4000, 5000, 5000]);
  });

  test("says in each heartbeat what is open, where both sides compare it", async () => {
    const { connection, register, time } = rig({ open: { count: 1, digest: "d" } });
    connection.start();
    const socket = register();
    await time.advance(10_000);
    expect(socket.sent[1]).toBe('{"metrics":{},"open":{"count":1,"digest":"d"},"timestamp":"2026-01-01T00:00:10.000Z","type":"heartbeat"}');
  });

  test("a half-open link is dropped within 30 s, and pings go out every 10 s", async () => {
    const { connection, register, time, lines } = rig();
    connection.start();
    const socket = register();
    await time.advance(24_000);
    expect(socket.terminated).toBe(false);
    expect(socket.pings).toBe(2);
    await time.advance(5_000);
    expect(socket.terminated).toBe(true);
    expect(lines).toContain("lost");
  });

  test("any frame and any pong is life", async () => {
    const { connection, register, time } = rig();
    connection.start();
    const socket = register();
    for (let at = 0; at < 10; at += 1) {
      await time.advance(20_000);
      if (at % 2 === 0) socket.handlers.alive();
      else socket.handlers.message("{}");
    }
    expect(socket.terminated).toBe(false);
  });

  test("a peer that takes the connection and never answers the registration is given up after 10 s", async () => {
    const { connection, last, time } = rig();
    connection.start();
    const silent = last();
    silent.handlers.open();
    await time.advance(9_900);
    expect(silent.terminated).toBe(false);
    await time.advance(100);
    expect(silent.terminated).toBe(true);
    expect(connection.state).toBe("waiting");
  });

  test("a refused registration is logged with its reason and tried again", async () => {
    const { connection, last, lines, sockets, time } = rig();
    connection.start();
    last().handlers.open();
    last().handlers.message('{"error":"cluster_name is required"}');
    expect(lines.join()).toContain("cluster_name is required");
    expect(last().closedWith).toBe(1001);
    await time.advance(1_100);
    expect(sockets[0]?.terminated).toBe(true);
    await time.advance(20_000);
    expect(sockets.length).toBeGreaterThan(1);
  });

  test.each(["not json", "[]", '{"status":1}', '{"status":"hello"}', "null"])("an answer like %s is no registration", (answer) => {
    const { connection, last, lines } = rig();
    connection.start();
    last().handlers.open();
    last().handlers.message(answer);
    expect(connection.state).not.toBe("registered");
    expect(last().closedWith).toBe(1002);
    expect(lines).not.toContain("registered");
  });

  test("told that it was removed it stays away for 30 to 60 s and then comes again", async () => {
    const { connection, register, untilNextDial } = rig({ random: () => 0.5 });
    connection.start();
    register().handlers.close(4005, "bye", undefined);
    expect(Math.abs((await untilNextDial()) - 45_000)).toBeLessThanOrEqual(10);
  });

  test("dropped by a 0.1 control plane it dials again at once, but not in a loop", async () => {
    const { connection, register, untilNextDial, time } = rig({ random: () => 0.999999 });
    connection.start();
    register(REGISTERED_01).handlers.close(1006, "", undefined);
    expect(await untilNextDial()).toBeLessThanOrEqual(10);
    register(REGISTERED_01).handlers.close(1006, "", undefined);
    expect(await untilNextDial()).toBeGreaterThan(150);
    register(REGISTERED_01);
    await time.advance(6_000);
    register(REGISTERED_01).handlers.close(1006, "", undefined);
    expect(await untilNextDial()).toBeLessThanOrEqual(10);
  });

  test("stopped while it waits it never dials again; registered it says goodbye and gives up on a silent peer", async () => {
    const waiting = rig();
    waiting.connection.start();
    waiting.last().handlers.close(1006, "", undefined);
    await waiting.connection.stop(1001, "bye");
    await waiting.time.advance(60_000);
    expect(waiting.sockets).toHaveLength(1);
    expect(waiting.time.pending).toBe(0);
    const silent = rig();
    silent.connection.start();
    const socket = silent.register();
    const stopped = silent.connection.stop(1001, "bye");
    expect(socket.closedWith).toBe(1001);
    await silent.time.advance(1_100);
    await stopped;
    expect(socket.terminated).toBe(true);
    await silent.time.advance(60_000);
    expect(silent.sockets).toHaveLength(1);
  });

  test("what a socket of before says or does no longer matters", async () => {
    const { connection, last, register, sockets, frames, time } = rig();
    connection.start();
    const old = register();
    old.handlers.close(1006, "", undefined);
    await time.advance(1_000);
    register();
    old.handlers.message("late");
    old.handlers.close(1006, "", undefined);
    expect(frames).toEqual([]);
    expect(connection.state).toBe("registered");
    expect(sockets).toHaveLength(2);
    expect(last()).not.toBe(old);
  });
});
