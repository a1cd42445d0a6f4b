import { describe, expect, test } from "bun:test";
import { manualPorts } from "../kit/mod.ts";
import { Knock } from "./knock.ts";
import { AttemptLimiter } from "./rate-limit.ts";

const FROM = "192.0.2.1";

function limiter(): { readonly attempts: AttemptLimiter; readonly left: () => number } {
  const attempts = new AttemptLimiter(manualPorts().ports.clock, { burst: 3, perSecond: 1, maxAddresses: 10 });
  return {
    attempts,
    left: () => {
      let count = 0;
      try {
        for (; count < 10; count += 1) attempts.take(FROM);
      } catch {
        // None is left: that is how they are counted.
      }
      for (let index = 0; index < count; index += 1) attempts.giveBack(FROM);
      return count;
    },
  };
}

describe("a knock", () => {
  test("costs an attempt until it was right", () => {
    const { attempts, left } = limiter();
    const knock = new Knock(attempts, FROM);
    expect(left()).toBe(2);
    knock.right();
    expect(left()).toBe(3);
  });

  test("gives back one attempt only, and takes it only once again", () => {
    const { attempts, left } = limiter();
    const knock = new Knock(attempts, FROM);
    void new Knock(attempts, FROM);
    knock.right();
    knock.right();
    expect(left()).toBe(2);
    knock.wrong();
    knock.wrong();
    expect(left()).toBe(1);
  });

  test("is refused where no attempt is left, and being wrong then is no other refusal", () => {
    const { attempts } = limiter();
    const knock = new Knock(attempts, FROM);
    knock.right();
    for (let index = 0; index < 3; index += 1) attempts.take(FROM);
    expect(() => knock.wrong()).not.toThrow();
    expect(() => new Knock(attempts, FROM)).toThrow("too many attempts");
  });
});
