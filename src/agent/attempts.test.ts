import { describe, expect, test } from "bun:test";
import { manualPorts, TransporterError } from "../kit/mod.ts";
import { Attempts } from "./attempts.ts";

const POLICY = { attempts: 4, backoffMs: 1_000, maxBackoffMs: 3_000 };
const AWAY = new TransporterError("KUBE_UNAVAILABLE", "away");
const HOUR = 3_600_000;

function attempts(random: number, policy = POLICY): Attempts {
  return new Attempts(policy, manualPorts({ random: () => random }).ports.random);
}

describe("another attempt", () => {
  test("waits longer each time, up to the bound, a random part of it", () => {
    const all = attempts(0.5);
    expect([all.failed(AWAY, HOUR), all.failed(AWAY, HOUR), all.failed(AWAY, HOUR)]).toEqual([
      { waitMs: 500 },
      { waitMs: 1_000 },
      { waitMs: 1_500 },
    ]);
    expect(attempts(0).failed(AWAY, HOUR)).toEqual({ waitMs: 0 });
  });

  test("waits at least as long as the API server asks", () => {
    const told = new TransporterError("KUBE_UNAVAILABLE", "throttled", { details: { retry_after_ms: 20_000 } });
    expect(attempts(0.5).failed(told, HOUR)).toEqual({ waitMs: 20_500 });
  });

  test("ends with the last error and says how often it was tried", () => {
    const all = attempts(0.5, { ...POLICY, attempts: 2 });
    all.failed(AWAY, HOUR);
    expect(all.failed(AWAY, HOUR)).toMatchObject({
      last: { code: "KUBE_UNAVAILABLE", message: "away (tried 2 times)", details: { attempts: 2 } },
    });
    expect(attempts(0.5, { ...POLICY, attempts: 1 }).failed(AWAY, HOUR)).toMatchObject({ last: { details: { attempts: 1 } } });
  });

  test("is not begun when the deadline comes first", () => {
    expect(attempts(0.5).failed(AWAY, 400)).toMatchObject({ last: { message: "away (tried 1 of 4 times, then no time was left)" } });
  });

  test("there is none for what cannot heal", () => {
    const invalid = new TransporterError("INVALID_OBJECT", "spec.replicas: not a number");
    expect(attempts(0.5).failed(invalid, HOUR)).toEqual({ last: invalid });
    const all = attempts(0.5);
    all.failed(AWAY, HOUR);
    expect(all.failed(invalid, HOUR)).toMatchObject({
      last: { code: "INVALID_OBJECT", message: "spec.replicas: not a number (at attempt 2)" },
    });
  });
});
