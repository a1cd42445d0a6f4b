import { describe, expect, test } from "bun:test";
import { type Decoded, decodeFrame, type Delivery } from "./delivery.ts";

const EVENT = {
  id: "test-event-1",
  type: "k8s_resource",
  target_agent: "a",
  payload: { manifests: ["apiVersion: v1\nkind: Namespace\nmetadata:\n  name: x"] },
  created_at: "2026-11-22T02:14:00Z",
  created_by: "manual-test",
  ttl: 3_600_000_000_000,
  priority: 0,
};

function frame(event: unknown, extra: Record<string, unknown> = {}): string {
  return JSON.stringify({ type: "event", event, ...extra });
}

function delivery(decoded: Decoded): Delivery {
  if (decoded.kind !== "event") throw new Error(`not an event: ${JSON.stringify(decoded)}`);
  return decoded.delivery;
}

describe("what tells one delivery from another", () => {
  const first = delivery(decodeFrame(frame(EVENT, { revision: 1, expires_in_ms: 1000 })));

  test("the same one handed over again has the same key, whatever is left of its TTL", () => {
    expect(delivery(decodeFrame(frame(EVENT, { revision: 1, expires_in_ms: 7 }))).key).toBe(first.key);
  });

  test.each([
    ["another payload", { ...EVENT, payload: { manifests: ["other"] } }, 1],
    ["another time of making, as when the id comes back later", { ...EVENT, created_at: "2026-12-01T00:00:00Z" }, 1],
    ["another revision", EVENT, 2],
    ["another id", { ...EVENT, id: "test-event-2" }, 1],
  ])("%s makes another delivery", (_what, event, revision) => {
    expect(delivery(decodeFrame(frame(event, { revision }))).key).not.toBe(first.key);
  });
});

describe("what an event frame says", () => {
  test("a 0.1 frame: no revision, the whole TTL from receipt, the defaults", () => {
    expect(delivery(decodeFrame(frame(EVENT)))).toMatchObject({
      expiresInMs: 3_600_000,
      work: {
        eventId: "test-event-1",
        revision: undefined,
        deadlineMs: 3_600_000,
        verifyTimeoutMs: 120_000,
        forceConflicts: false,
        priority: 0,
      },
    });
  });

  test("one of ours: what is left of the TTL, deadline and verify_timeout in both spellings", () => {
    const event = {
      ...EVENT,
      deadline: "90s",
      priority: 7,
      payload: { ...EVENT.payload, verify_timeout: 5_000_000_000, force_conflicts: true },
    };
    expect(delivery(decodeFrame(frame(event, { revision: 4, expires_in_ms: 250 })))).toMatchObject({
      expiresInMs: 250,
      work: { revision: 4, deadlineMs: 90_000, verifyTimeoutMs: 5_000, forceConflicts: true, priority: 7 },
    });
  });
});

describe("what is not as it should be", () => {
  test("an event that the schema refuses still names its id, and is failed with the reason", () => {
    const bad = delivery(decodeFrame(frame({ ...EVENT, payload: { manifests: "not a list" } }, { revision: 1 })));
    expect(bad.work.fault).toEqual({ code: "INVALID_EVENT", message: expect.stringContaining("payload.manifests") });
    expect(bad.work.eventId).toBe("test-event-1");
    const unknown = delivery(decodeFrame(frame({ ...EVENT, type: "helm_release" }, { revision: 1 })));
    expect(unknown.work.fault).toEqual({ code: "CAPABILITY_MISSING", message: expect.stringContaining('"helm_release"') });
  });

  test.each([
    ["{", "garbled"],
    ["", "garbled"],
    ["null", "garbled"],
    ["[]", "garbled"],
    ["3", "garbled"],
    ['{"event":{}}', "garbled"],
    ['{"type":7}', "garbled"],
    ['{"type":"event"}', "garbled"],
    ['{"type":"event","event":{"id":""}}', "garbled"],
    [frame({ ...EVENT, id: "a\u0000b" }), "garbled"],
    [frame({ ...EVENT, id: "x".repeat(300) }), "garbled"],
    ['{"type":"status_ack","boot_id":"b"}', "garbled"],
    ['{"type":"status_ack","boot_id":"b","seq":1.5}', "garbled"],
    ['{"type":"trust","trust_bundle":7}', "garbled"],
    ['{"type":"challenge","nonce":"n","audience":"a"}', "garbled"],
    ['{"type":"policy_bundle","x":1}', "unknown"],
    ['{"type":"__proto__"}', "unknown"],
  ])("%s is %s and never throws", (text, kind) => {
    expect(decodeFrame(text).kind).toBe(kind as Decoded["kind"]);
  });

  test("an acknowledgement", () => {
    expect(decodeFrame('{"type":"status_ack","boot_id":"b","seq":9}')).toEqual({ kind: "status_ack", bootId: "b", seq: 9 });
  });
});
