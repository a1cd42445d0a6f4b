import { expect, test } from "bun:test";
import type { Client } from "../client/mod.ts";
import { TransporterError, manualPorts } from "../kit/mod.ts";
import type { EventDetail, LogEntry } from "../protocol/mod.ts";
import { submitEvent } from "./submit.ts";
import { errorOfOutcome, waitForEvent } from "./wait.ts";

const entry = (state: LogEntry["state"], parts: Partial<LogEntry> = {}): LogEntry => ({
  seq: 1,
  event_id: "e",
  agent_id: "a",
  revision: 1,
  timestamp: "2026-01-01T00:00:00Z",
  state,
  phase: "applying",
  level: "info",
  message: state,
  ...parts,
});

/** What the tests need of a client; anything else called is a fault of the test. */
function fakeClient(parts: Partial<Client>): Client {
  return new Proxy(parts as Client, {
    get(target, name) {
      const found: unknown = Reflect.get(target, name);
      if (found === undefined) throw new Error(`${String(name)} is not expected to be called`);
      return found;
    },
  });
}

test("waiting ends with the last entry's result, every entry told on the way", async () => {
  const { ports } = manualPorts();
  const told: string[] = [];
  const client = fakeClient({
    async *followEvent() {
      yield entry("in_progress");
      yield entry("completed", { result: { success: true } });
    },
  });
  const outcome = await waitForEvent(client, "e", {
    timers: ports.timers,
    signal: new AbortController().signal,
    onEntry: ({ state }) => void told.push(state),
  });
  expect(told).toEqual(["in_progress", "completed"]);
  expect(outcome).toEqual({ eventId: "e", state: "completed", message: "completed", result: { success: true } });
  expect(errorOfOutcome(outcome)).toBeUndefined();
});

test("a stream that ends without an ending is settled by asking", async () => {
  const { ports } = manualPorts();
  const client = fakeClient({
    async *followEvent() {},
    getEvent: () => Promise.resolve({ state: "cancelled", message: "cancelled by me" } as EventDetail),
  });
  const outcome = await waitForEvent(client, "e", { timers: ports.timers, signal: new AbortController().signal });
  expect(errorOfOutcome(outcome)).toMatchObject({ code: "EVENT_FAILED", message: "event e was cancelled: cancelled by me" });
});

test("waiting has an end of its own", async () => {
  const hands = manualPorts();
  const client = fakeClient({
    async *followEvent(_id, options) {
      yield entry("queued");
      await new Promise((_resolve, reject) => options?.signal?.addEventListener("abort", () => reject(options.signal?.reason as Error)));
    },
  });
  const waiting = waitForEvent(client, "e", { timers: hands.ports.timers, signal: new AbortController().signal, timeoutMs: 5000 }).catch(
    (error: unknown) => error,
  );
  await hands.advance(5000);
  expect(await waiting).toMatchObject({ code: "WAIT_TIMEOUT", message: "event e did not finish within 5s" });
});

test("each ending stands for its error", () => {
  const base = { eventId: "e", message: "because", result: undefined };
  expect(errorOfOutcome({ ...base, state: "expired" })).toMatchObject({ code: "EVENT_EXPIRED", kind: "expired" });
  const failed = errorOfOutcome({
    ...base,
    state: "failed",
    result: { success: false, error_message: "no such kind", error_code: "UNKNOWN_KIND" },
  });
  expect(failed).toMatchObject({ code: "EVENT_FAILED", message: "event e failed: no such kind", details: { error_code: "UNKNOWN_KIND" } });
});

test("handing in is tried again where that can help, and only there", async () => {
  const signal = new AbortController().signal;
  const attempt = async (
    code: "CP_UNREACHABLE" | "STORE_UNAVAILABLE" | "EVENT_CONFLICT",
    good: number,
  ): Promise<{ calls: number; ended: unknown }> => {
    const hands = manualPorts();
    let calls = 0;
    const client = fakeClient({
      submit() {
        calls += 1;
        return calls >= good
          ? Promise.resolve({ event_id: "e", message: "m", status: "accepted" })
          : Promise.reject(new TransporterError(code, "x"));
      },
    });
    const sending = submitEvent(client, "{}", hands.ports, { signal }).catch((error: unknown) => error);
    await hands.advance(60_000);
    return { calls, ended: await sending };
  };
  expect(await attempt("STORE_UNAVAILABLE", 5)).toMatchObject({ calls: 5, ended: { status: "accepted" } });
  expect(await attempt("STORE_UNAVAILABLE", 99)).toMatchObject({ calls: 8, ended: { code: "STORE_UNAVAILABLE" } });
  expect(await attempt("CP_UNREACHABLE", 99)).toMatchObject({ calls: 3 });
  expect(await attempt("EVENT_CONFLICT", 2)).toMatchObject({ calls: 1, ended: { code: "EVENT_CONFLICT" } });
});
