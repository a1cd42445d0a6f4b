import { expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { checkEvent, type Event } from "./event.ts";
import { AgentFrameSchema, checkAgentFrame } from "./frames.ts";

const oddities = fc.constantFrom<unknown>(
  undefined,
  null,
  "",
  "x",
  0,
  1,
  -3,
  1.5,
  Number.NaN,
  true,
  [],
  ["x"],
  [1],
  {},
  { a: "b" },
  { a: 1 },
  { constructor: "c" },
  { prototype: "p" },
);

/** A good object of which up to three fields are replaced by whatever. */
function spoilt(good: Record<string, unknown>, further: readonly string[]): fc.Arbitrary<Record<string, unknown>> {
  const field = fc.constantFrom(...Object.keys(good), ...further);
  return fc.array(fc.tuple(field, oddities), { maxLength: 3 }).map((changes) => {
    const spoiltOne = { ...good };
    for (const [key, value] of changes) {
      if (value === undefined) delete spoiltOne[key];
      else spoiltOne[key] = value;
    }
    return spoiltOne;
  });
}

const STATUS = {
  type: "status_update",
  event_id: "e",
  agent_id: "a",
  state: "in_progress",
  phase: "applying",
  message: "Applying",
  log_level: "info",
  details: null,
  result: null,
  timestamp: "2026-02-10T10:00:00Z",
  revision: 1,
  boot_id: "b",
  seq: 1,
  nth: 0,
};
const RESOURCE = { kind: "Namespace", name: "n", namespace: null, api_version: "v1", status: "created", message: "made" };
const RESULT = {
  success: true,
  resource_status: [RESOURCE, RESOURCE],
  error_message: null,
  error_code: "X",
  completed_at: "2026-02-10T10:00:00Z",
  duration: 5_505_706,
};
const EVENT = {
  id: "e",
  type: "k8s_resource",
  target_agent: "a",
  payload: { manifests: ["kind: Namespace"] },
  created_at: "2026-02-10T10:00:00Z",
  created_by: "somebody",
  ttl: 3_600_000_000_000,
  priority: 0,
  labels: { environment: "test" },
  deadline: "5m",
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
};

test("the quick look at an agent's frame answers what the schema answers", () => {
  const frames = fc.oneof(
    spoilt(STATUS, ["further"]),
    fc.tuple(spoilt(RESULT, ["further"]), spoilt(RESOURCE, ["further"])).map(([result, resource]) => ({
      ...STATUS,
      result:
        Array.isArray(result["resource_status"]) && result["resource_status"].length === 2
          ? { ...result, resource_status: [RESOURCE, resource] }
          : result,
    })),
    spoilt({ type: "event_ack", event_id: "e", revision: 1 }, ["further"]),
    spoilt({ type: "heartbeat", timestamp: "2026-02-10T10:00:00Z", metrics: {} }, ["further"]),
  );
  fc.assert(
    fc.property(frames, (frame) => {
      const parsed = v.safeParse(AgentFrameSchema, frame, { abortEarly: true });
      const checked = checkAgentFrame(frame);
      expect(checked.ok).toBe(parsed.success);
      if (checked.ok) expect(checked.value).toEqual(parsed.output as typeof checked.value);
    }),
    { numRuns: 3000 },
  );
});

test("the quick look at an event answers what the schema answers", () => {
  const withoutExtra = ({ extra: _extra, ...rest }: Event): Omit<Event, "extra"> => rest;
  fc.assert(
    fc.property(spoilt(EVENT, ["payload"]), (event) => {
      const quick = checkEvent(event);
      // A field that nobody knows keeps an event from the quick look.
      const thorough = checkEvent({ ...event, further: 1 });
      if (!quick.ok || !thorough.ok) expect(quick).toEqual(thorough);
      else {
        expect(withoutExtra(quick.value)).toEqual(withoutExtra(thorough.value));
        expect(thorough.value.extra).toEqual({ ...quick.value.extra, further: 1 });
      }
    }),
    { numRuns: 3000 },
  );
});
