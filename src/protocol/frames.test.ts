import { expect, test } from "bun:test";
import fc from "fast-check";
import { openDigest } from "./frames.ts";

const keys = fc.uniqueArray(fc.record({ eventId: fc.string({ minLength: 1 }), revision: fc.integer({ min: 1, max: 9 }) }), {
  selector: ({ eventId, revision }) => `${eventId}\u0000${revision}`,
});

test("the digest of what is open does not depend on the order", () => {
  fc.assert(
    fc.property(keys, (some) => {
      expect(openDigest(some.toReversed())).toEqual(openDigest(some));
      expect(openDigest(some).count).toBe(some.length);
    }),
  );
});

test("the digest of what is open tells one delivery too few, too many or another", () => {
  fc.assert(
    fc.property(keys, keys, (some, others) => {
      const text = (list: typeof some): string =>
        JSON.stringify(list.map(({ eventId, revision }) => `${eventId}\u0000${revision}`).toSorted());
      expect(JSON.stringify(openDigest(some)) === JSON.stringify(openDigest(others))).toBe(text(some) === text(others));
    }),
  );
});
