import { describe, expect, test } from "bun:test";
import { TransporterError, manualPorts } from "../kit/mod.ts";
import { Interrupted } from "./command.ts";
import { tellError } from "./errors.ts";
import { BrokenPipe, type Host } from "./host.ts";
import { type Service, refuseEnvironment, runService, serviceLog } from "./service.ts";

interface TestHost {
  readonly host: Host;
  readonly err: () => string;
  readonly exits: number[];
  signal(name: "SIGINT" | "SIGTERM"): void;
}

function testHost(): TestHost {
  let err = "";
  const exits: number[] = [];
  const handlers = new Set<(name: "SIGINT" | "SIGTERM") => void>();
  const sink = { isTerminal: false, columns: () => 80, write: (text: string) => void (err += text), writeBytes: () => undefined };
  return {
    err: () => err,
    exits,
    signal: (name) => {
      for (const handler of handlers) handler(name);
    },
    host: {
      env: {},
      out: sink,
      err: sink,
      async *stdin() {},
      stdinIsTerminal: () => false,
      readHidden: async () => "",
      onHangup: () => () => undefined,
      onSignal(handler) {
        handlers.add(handler);
        return () => handlers.delete(handler);
      },
      exitNow: (code) => void exits.push(code),
      killSelf: () => undefined,
      setEnv: () => undefined,
    },
  };
}

describe("a service", () => {
  function begin(service: Service): TestHost & { hands: ReturnType<typeof manualPorts>; ended: Promise<unknown> } {
    const hands = manualPorts();
    const test = testHost();
    const logging = serviceLog(test.host, hands.ports, { debug: false, format: "json" });
    const ended = runService(test.host, hands.ports, logging, () => Promise.resolve(service)).catch((error: unknown) => error);
    return { ...test, hands, ended };
  }

  test("stops at the first signal and ends in 0", async () => {
    let stops = 0;
    const run = begin({
      stop() {
        stops += 1;
        return Promise.resolve();
      },
    });
    await run.hands.settle();
    run.signal("SIGTERM");
    expect(await run.ended).toBe(0);
    expect(stops).toBe(1);
    expect(run.err()).toMatch(/"Stopping","signal":"SIGTERM"[\s\S]*"Stopped"/);
  });

  test("is ended at once by the second, whatever it is still doing", async () => {
    const run = begin({ stop: () => new Promise(() => undefined) });
    await run.hands.settle();
    run.signal("SIGINT");
    await run.hands.settle();
    expect(run.exits).toEqual([]);
    run.signal("SIGINT");
    expect(run.exits).toEqual([130]);
  });

  test("that does not stop in ten seconds is ended all the same, and says so", async () => {
    const run = begin({ stop: () => new Promise(() => undefined) });
    await run.hands.settle();
    run.signal("SIGTERM");
    await run.hands.advance(9999);
    expect(run.err()).not.toContain("did not stop in time");
    await run.hands.advance(1);
    expect(await run.ended).toBe(1);
    expect(run.err()).toContain("did not stop in time");
  });

  test("that cannot go on is stopped, and its fault is the program's", async () => {
    const fault = new TransporterError("STORE_CORRUPT", "page 7 is damaged");
    const run = begin({ stop: () => Promise.resolve(), ended: Promise.resolve(fault) });
    expect(await run.ended).toBe(fault);
  });
});

test("log lines of one turn are written together", async () => {
  const hands = manualPorts();
  const { host, err } = testHost();
  let writes = 0;
  const counting: Host = { ...host, err: { ...host.err, write: (text) => (writes++, host.err.write(text)) } };
  const { log, flush } = serviceLog(counting, hands.ports, { debug: false, format: undefined });
  for (let count = 0; count < 100; count++) log.info("line", { count });
  expect(writes).toBe(0);
  await hands.advance(0);
  expect(writes).toBe(1);
  expect(err().trim().split("\n")).toHaveLength(100);
  log.info("last");
  flush();
  expect(err()).toContain('"message":"last"');
});

test("certificates go unchecked only where insecurity was asked for", () => {
  expect(() => refuseEnvironment({ NODE_TLS_REJECT_UNAUTHORIZED: "0" }, false)).toThrow("switches off every check");
  expect(() => refuseEnvironment({ NODE_TLS_REJECT_UNAUTHORIZED: "0" }, true)).not.toThrow();
  expect(() => refuseEnvironment({ NODE_TLS_REJECT_UNAUTHORIZED: "1" }, false)).not.toThrow();
});

describe("an error told to people", () => {
  const tell = (thrown: unknown, debug = false): { code: number; text: string } => {
    const { host, err } = testHost();
    return { code: tellError(thrown, host, debug), text: err() };
  };

  test("says what happened, its code and what to do, on lines of their own", () => {
    const error = new TransporterError("EVENT_NOT_FOUND", "there is no event x\u001b[2J", {
      details: { request_id: "r1" },
      remedy: "look again",
    });
    expect(tell(error)).toEqual({
      code: 4,
      text: "error: there is no event x\\x1b[2J\ncode:  EVENT_NOT_FOUND\nrequest: r1\nhint:  look again\n",
    });
  });

  test("shows causes with --debug alone, and no secret ever", () => {
    const error = new TransporterError("CP_UNREACHABLE", "http://me:hunter2@cp is away", {
      cause: new Error("Bearer abcdefghijkl refused"),
    });
    expect(tell(error).text).not.toContain("refused");
    const { code, text } = tell(error, true);
    expect(code).toBe(7);
    expect(text).toContain("refused");
    expect(text).not.toMatch(/hunter2|abcdefghijkl/);
  });

  test("that is a fault of ours says so", () => {
    const { code, text } = tell(new TypeError("x is not a function"));
    expect(code).toBe(70);
    expect(text).toContain("cause: x is not a function\nhint:  This is a fault of ours.");
  });

  test("is nothing at all where nobody listens or somebody pressed Ctrl-C", () => {
    expect(tell(new BrokenPipe())).toEqual({ code: 141, text: "" });
    expect(tell(new Interrupted(130))).toEqual({ code: 130, text: "" });
  });
});
