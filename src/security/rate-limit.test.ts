import { describe, expect, test } from "bun:test";
import { manualPorts, TransporterError } from "../kit/mod.ts";
import { addressBytes, addressGroup } from "./addresses.ts";
import { AttemptLimiter } from "./rate-limit.ts";

/** How many attempts go through until one is refused. */
function attempts(limiter: AttemptLimiter, address: string): number {
  for (let count = 0; count < 1_000; count += 1) {
    try {
      limiter.take(address);
    } catch {
      return count;
    }
  }
  return 1_000;
}

describe("attempts of an address", () => {
  test("are twenty at once and one a second after", async () => {
    const manual = manualPorts();
    const limiter = new AttemptLimiter(manual.ports.clock);
    expect(attempts(limiter, "192.0.2.1")).toBe(20);
    await manual.advance(999);
    expect(attempts(limiter, "192.0.2.1")).toBe(0);
    await manual.advance(1);
    expect(attempts(limiter, "192.0.2.1")).toBe(1);
    await manual.advance(3_600_000);
    expect(attempts(limiter, "192.0.2.1")).toBe(20);
  });

  test("say how long to wait when there are none", async () => {
    const manual = manualPorts();
    const limiter = new AttemptLimiter(manual.ports.clock, { burst: 1, perSecond: 0.5, maxAddresses: 10 });
    limiter.take("192.0.2.1");
    await manual.advance(500);
    let refusal: unknown;
    try {
      limiter.take("192.0.2.1");
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toBeInstanceOf(TransporterError);
    expect(refusal).toMatchObject({ code: "TOO_MANY_ATTEMPTS", details: { retry_after_ms: 1_500 } });
  });

  test("are not those of another address, but those of the same /64", () => {
    const limiter = new AttemptLimiter(manualPorts().ports.clock);
    expect(attempts(limiter, "192.0.2.1")).toBe(20);
    expect(attempts(limiter, "::ffff:192.0.2.1")).toBe(0);
    expect(attempts(limiter, "192.0.2.2")).toBe(20);
    expect(attempts(limiter, "2001:db8:1:2::1")).toBe(20);
    expect(attempts(limiter, "2001:db8:1:2:ffff::9")).toBe(0);
    expect(attempts(limiter, "2001:db8:1:3::1")).toBe(20);
    expect(attempts(limiter, "unix")).toBe(20);
    expect(attempts(limiter, "")).toBe(0);
  });

  test("that were right are given back, and never more than there were", () => {
    const limiter = new AttemptLimiter(manualPorts().ports.clock);
    for (let count = 0; count < 100; count += 1) {
      limiter.take("192.0.2.1");
      limiter.giveBack("192.0.2.1");
    }
    limiter.giveBack("192.0.2.1");
    limiter.giveBack("192.0.2.200");
    expect(attempts(limiter, "192.0.2.1")).toBe(20);
  });

  test("are remembered for so many addresses only, and the quietest is forgotten", () => {
    const limiter = new AttemptLimiter(manualPorts().ports.clock, { burst: 1, perSecond: 1, maxAddresses: 2 });
    limiter.take("192.0.2.1");
    limiter.take("192.0.2.2");
    expect(attempts(limiter, "192.0.2.1")).toBe(0);
    limiter.take("192.0.2.3");
    expect(limiter.size).toBe(2);
    expect(attempts(limiter, "192.0.2.1")).toBe(0);
    expect(attempts(limiter, "192.0.2.2")).toBe(1);
  });
});

describe("an address", () => {
  test.each([
    ["192.0.2.1", "c0000201"],
    ["[::1]", "00000000000000000000000000000001"],
    ["fe80::1%eth0", "fe800000000000000000000000000001"],
    ["fe80::%eth0", "fe800000000000000000000000000000"],
    ["::ff:c000:201", "0000000000000000000000ffc0000201"],
    ["1:2:3:4:5:6:7::", "00010002000300040005000600070000"],
    ["::2:3:4:5:6:7:8", "00000002000300040005000600070008"],
    ["1::1.2.3.4", "00010000000000000000000001020304"],
    ["2001:db8::", "20010db8000000000000000000000000"],
    ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
    ["64:ff9b::192.0.2.1", "0064ff9b0000000000000000c0000201"],
    ["::ffff:192.0.2.1", "c0000201"],
    ["::fffe:192.0.2.1", "00000000000000000000fffec0000201"],
    ["::ff:ffff:c000:201", "000000000000000000ffffffc0000201"],
  ])("%s has its bytes", (address, hex) => {
    expect(Buffer.from(addressBytes(address) ?? []).toString("hex")).toBe(hex);
  });

  test.each(["", "localhost", "192.0.2", "1::2::3", "192.0.2.1:80", "[192.0.2.1", "x::1]", "[::1x"])("%p is none", (address) => {
    expect(addressBytes(address)).toBeUndefined();
    expect(addressGroup(address)).toBe("other");
  });
});
