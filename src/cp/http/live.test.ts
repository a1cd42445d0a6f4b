import { expect, test } from "bun:test";
import { manualPorts } from "../../kit/mod.ts";
import type { LogEntry, State } from "../../protocol/mod.ts";
import type { LogQuery, Store } from "../../stores/mod.ts";
import { Bell } from "../bell.ts";
import { liveStream } from "./live.ts";
import type { Standing } from "./standing.ts";

function entry(seq: number): LogEntry {
  return {
    seq,
    event_id: "one",
    agent_id: "agent-1",
    revision: 1,
    timestamp: "2026-01-01T00:00:00Z",
    state: "queued",
    phase: "",
    level: "info",
    message: "",
  };
}

/** A stream of one event over a store whose look into the log is the test's. */
function setUp(
  logAfter: (query: LogQuery, bell: Bell) => Promise<LogEntry[]>,
  parts: {
    readonly state?: State;
    readonly isGone?: boolean;
    readonly sees?: (entry: LogEntry) => boolean | Promise<boolean>;
    readonly standing?: Standing;
  } = {},
) {
  const manual = manualPorts();
  const bell = new Bell();
  const stopping = { now: false };
  const store = {
    logAfter: (query: LogQuery) => logAfter(query, bell),
    getEvent: () => Promise.resolve(parts.isGone === true ? undefined : { delivery: { state: parts.state } }),
  } as unknown as Store;
  const stream = liveStream({
    store,
    bell,
    ports: manual.ports,
    tenant: "default",
    eventId: "one",
    afterSeq: 0,
    revision: 1,
    finished: false,
    isStopping: () => stopping.now,
    signal: new AbortController().signal,
    forgets: parts.state !== undefined,
    ...(parts.sees === undefined ? {} : { sees: parts.sees }),
    ...(parts.standing === undefined ? {} : { standing: parts.standing }),
  });
  const reader = stream.getReader();
  let text = "";
  let end: "open" | "closed" | "failed" = "open";
  void (async () => {
    try {
      for (let part = await reader.read(); part.value !== undefined; part = await reader.read())
        text += new TextDecoder().decode(part.value);
      end = "closed";
    } catch {
      end = "failed";
    }
  })();
  return { settle: () => manual.settle(), advance: (ms: number) => manual.advance(ms), bell, stopping, text: () => text, end: () => end };
}

test("a ring during a look into the log is looked at without waiting for the next", async () => {
  const entries: LogEntry[] = [];
  const { settle, text } = setUp((query, bell) => {
    const found = entries.filter(({ seq }) => seq > query.afterSeq);
    if (entries.length === 0) {
      entries.push(entry(1));
      bell.ring(entry(1));
    }
    return Promise.resolve(found);
  });
  await settle();
  expect(text()).toContain("id: 1\n");
});

test("a look into the log that fails ends the stream and leaves no listener", async () => {
  const { settle, bell, end } = setUp(() => Promise.reject(new Error("the store is away")));
  await settle();
  expect(end()).toBe("failed");
  expect(bell.listeners).toBe(0);
});

test("a stream ends when the control plane stops", async () => {
  const { settle, bell, stopping, end } = setUp(() => Promise.resolve([]));
  await settle();
  expect(end()).toBe("open");
  stopping.now = true;
  bell.ringAll();
  await settle();
  expect(end()).toBe("closed");
  expect(bell.listeners).toBe(0);
});

test("an end whose number was read as another's, before the store was put back, is told with all that it is the end of", async () => {
  let entries = [entry(1), entry(2), entry(3)];
  const { settle, advance, bell, text, end } = setUp(({ afterSeq }) => Promise.resolve(entries.filter(({ seq }) => seq > afterSeq)), {
    state: "completed",
  });
  await settle();
  expect(text()).toContain("id: 3\n");
  entries = [entry(1), { ...entry(2), state: "completed" }];
  bell.ringAll();
  await settle();
  expect(text()).not.toContain("event: end");
  await advance(5_000);
  expect(text()).toContain("event: end");
  expect(text().split("id: 2\n").at(-1)).toContain("completed");
  expect(end()).toBe("closed");
});

test("a quiet stream says that it is still there, and looks for what was forgotten without telling anything twice", async () => {
  const { advance, text, end } = setUp(({ afterSeq }) => Promise.resolve([entry(1)].filter(({ seq }) => seq > afterSeq)), {
    state: "in_progress",
  });
  await advance(11_000);
  expect(text().split("still here").length).toBe(3);
  expect(text().split("id: 1\n").length).toBe(2);
  expect(end()).toBe("open");
});

test("a stream of what the store has lost breaks off, so that its reader comes again and is told", async () => {
  const { advance, bell, end } = setUp(() => Promise.resolve([]), { state: "queued", isGone: true });
  await advance(5_000);
  expect(end()).toBe("failed");
  expect(bell.listeners).toBe(0);
});

test("what is not for whoever follows is passed over, and they hear all the same that the stream stands", async () => {
  const entries: LogEntry[] = [];
  const { settle, advance, bell, text, end } = setUp(({ afterSeq }) => Promise.resolve(entries.filter(({ seq }) => seq > afterSeq)), {
    sees: ({ seq }) => Promise.resolve(seq % 10 === 0),
  });
  await settle();
  // Something happens all the time, and next to nothing of it is for them.
  for (let seq = 1; seq <= 25; seq += 1) {
    entries.push(entry(seq));
    bell.ring(entry(seq));
    await advance(1_000);
  }
  expect(text().match(/^id: \d+$/gm)).toEqual(["id: 10", "id: 20"]);
  expect(text().split("still here").length - 1).toBeGreaterThanOrEqual(3);
  expect(end()).toBe("open");
});

test("more than one look of what is passed over is followed by what is not", async () => {
  const entries = Array.from({ length: 450 }, (_one, at) => entry(at + 1));
  const { settle, text } = setUp(({ afterSeq, limit }) => Promise.resolve(entries.filter(({ seq }) => seq > afterSeq).slice(0, limit)), {
    sees: ({ seq }) => seq === 450,
  });
  await settle();
  expect(text().match(/^id: \d+$/gm)).toEqual(["id: 450"]);
});

test("a stream ends with its reader's right to follow, even in the middle of a look, and tells nothing more", async () => {
  const right = new AbortController();
  let released = 0;
  let answer: (entries: LogEntry[]) => void = () => undefined;
  const { settle, bell, text, end } = setUp(() => new Promise((resolve) => (answer = resolve)), {
    standing: { ended: right.signal, release: () => (released += 1) },
  });
  await settle();
  expect(end()).toBe("open");
  right.abort();
  answer([entry(1)]);
  await settle();
  expect(end()).toBe("closed");
  expect(text()).not.toContain("id: 1");
  expect(bell.listeners).toBe(0);
  expect(released).toBeGreaterThan(0);
});

test("a right to follow that has ended already opens no stream", async () => {
  const { settle, bell, end } = setUp(() => Promise.resolve([entry(1)]), {
    standing: { ended: AbortSignal.abort(), release: () => undefined },
  });
  await settle();
  expect(end()).toBe("closed");
  expect(bell.listeners).toBe(0);
});
