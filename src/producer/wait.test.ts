import { describe, expect, test } from "bun:test";
import type { Client } from "../client/mod.ts";
import { TransporterError, manualPorts } from "../kit/mod.ts";
import type { EventDetail, LogEntry } from "../protocol/mod.ts";
import { completeEvent } from "./build-event.ts";
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

describe("handing in", () => {
  const signal = new AbortController().signal;
  type Attempt = { readonly atMs: readonly number[]; readonly sent: ReadonlySet<string>; readonly ended: unknown };
  const attempt = async (fault: TransporterError, good: number): Promise<Attempt> => {
    const hands = manualPorts();
    const atMs: number[] = [];
    const sent = new Set<string>();
    const client = fakeClient({
      submit(json, options) {
        atMs.push(hands.ports.clock.monotonic());
        sent.add(`${json} ${options?.idempotencyKey ?? ""}`);
        return atMs.length >= good ? Promise.resolve({ event_id: "e", message: "m", status: "accepted" }) : Promise.reject(fault);
      },
    });
    const event = { json: '{"id":"one"}', idempotencyKey: "key" };
    const sending = submitEvent(client, event, hands.ports, { signal }).catch((error: unknown) => error);
    for (let second = 0; second < 120; second += 1) await hands.advance(1_000);
    return { atMs, sent, ended: await sending };
  };

  test("says of what says more than 0.1 knows that it does", async () => {
    const saysMore: unknown[] = [];
    const client = fakeClient({
      submit(_json, options) {
        saysMore.push(options?.saysMore);
        return Promise.resolve({ event_id: "e", message: "m", status: "accepted" });
      },
    });
    const { ports } = manualPorts();
    const manifests = ["apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"];
    for (const parts of [{}, { operation: "apply" }, { operation: "delete" }, { on_failure: "rollback" }])
      await submitEvent(
        client,
        completeEvent({ type: "k8s_resource", target_agent: "a", payload: { manifests, ...parts } }, {}, ports),
        ports,
        { signal },
      );
    expect(saysMore).toEqual([undefined, undefined, true, true]);
  });

  test("is tried again where that can help, the very same, within a bound", async () => {
    const busy = new TransporterError("STORE_UNAVAILABLE", "x");
    const healed = await attempt(busy, 5);
    expect(healed).toMatchObject({ atMs: { length: 5 }, ended: { status: "accepted" } });
    expect([...healed.sent]).toEqual(['{"id":"one"} key']);
    const never = await attempt(busy, 999);
    expect(never.ended).toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(never.atMs.length).toBeGreaterThan(10);
    expect(never.atMs.at(-1)).toBeLessThanOrEqual((never.atMs[0] ?? 0) + 60_000);
    const nobody = await attempt(new TransporterError("CP_UNREACHABLE", "x"), 999);
    expect(nobody.ended).toMatchObject({ code: "CP_UNREACHABLE" });
    expect(nobody.atMs.length).toBeGreaterThan(3);
    expect(nobody.atMs.at(-1)).toBeLessThanOrEqual((nobody.atMs[0] ?? 0) + 10_000);
    expect(await attempt(new TransporterError("EVENT_CONFLICT", "x"), 2)).toMatchObject({
      atMs: { length: 1 },
      ended: { code: "EVENT_CONFLICT" },
    });
  });

  test("waits as long as it is asked to, and a little more of its own", async () => {
    const { atMs, ended } = await attempt(new TransporterError("TOO_MANY_REQUESTS", "x", { details: { retry_after_ms: 7_000 } }), 3);
    expect(ended).toMatchObject({ status: "accepted" });
    for (const at of [1, 2]) {
      expect((atMs[at] ?? 0) - (atMs[at - 1] ?? 0)).toBeGreaterThan(7_000);
      expect((atMs[at] ?? 0) - (atMs[at - 1] ?? 0)).toBeLessThan(12_001);
    }
  });
});
