import { expect, test } from "bun:test";
import { manualPorts, silentLogger } from "../../kit/mod.ts";
import { ANONYMOUS, type Principal, type Security } from "../../security/mod.ts";
import { stand } from "./standing.ts";

const DAY_MS = 86_400_000;

function setUp(principal: Partial<Principal> = {}, isCurrent: () => boolean | Promise<boolean> = () => true) {
  const manual = manualPorts();
  const listeners = new Set<(credential: string | undefined) => void>();
  const state = { isCurrent };
  const security = {
    authenticator: { isCurrent: () => state.isCurrent() },
    onEnded(listener: (credential: string | undefined) => void) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  } as unknown as Security;
  const standing = stand(
    { ...ANONYMOUS, kind: "user", credential: "mine", ...principal },
    { security, ports: manual.ports, log: silentLogger },
  );
  return {
    manual,
    state,
    standing,
    listeners,
    end: (credential: string | undefined) => {
      for (const listener of listeners) listener(credential);
      return manual.settle();
    },
  };
}

test("a stream ends with the token of its reader, and with nobody else's", async () => {
  const { standing, end } = setUp();
  await end("another");
  expect(standing.ended.aborted).toBe(false);
  await end("mine");
  expect(standing.ended.aborted).toBe(true);
});

const ANSWERS: readonly [string, () => boolean | Promise<boolean>, boolean][] = [
  ["they are still good", () => true, false],
  ["they are not", () => Promise.resolve(false), true],
  ["nobody can say", () => Promise.reject(new Error("the store is away")), true],
];
test.each(ANSWERS)("when everybody is asked again and %s, it ends: %p", async (_case, isCurrent, ends) => {
  const { standing, end, state } = setUp();
  state.isCurrent = isCurrent;
  await end(undefined);
  expect(standing.ended.aborted).toBe(ends);
});

test("a stream ends when the time of its reader is up, however far that is", async () => {
  const near = setUp({ expiresAtMs: manualPorts().ports.clock.now() + 60_000 });
  await near.manual.advance(59_999);
  expect(near.standing.ended.aborted).toBe(false);
  await near.manual.advance(1);
  expect(near.standing.ended.aborted).toBe(true);
  const far = setUp({ expiresAtMs: manualPorts().ports.clock.now() + 3 * DAY_MS });
  await far.manual.advance(3 * DAY_MS - 1);
  expect(far.standing.ended.aborted).toBe(false);
  await far.manual.advance(1);
  expect(far.standing.ended.aborted).toBe(true);
});

test("whoever ended before the stream began has none", async () => {
  const { standing, manual } = setUp({}, () => false);
  await manual.settle();
  expect(standing.ended.aborted).toBe(true);
});

test("whoever has left is not watched any more", async () => {
  const { standing, listeners, manual } = setUp({ expiresAtMs: manualPorts().ports.clock.now() + 60_000 });
  standing.release();
  expect(listeners.size).toBe(0);
  await manual.advance(DAY_MS);
  expect(standing.ended.aborted).toBe(false);
});

test("where nobody is asked who they are, nobody ends", () => {
  const { ports } = manualPorts();
  const standing = stand(ANONYMOUS, { security: undefined, ports, log: silentLogger });
  standing.release();
  expect(standing.ended.aborted).toBe(false);
});
