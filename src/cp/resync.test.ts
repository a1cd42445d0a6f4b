import { describe, expect, test } from "bun:test";
import { openDigest } from "../protocol/mod.ts";
import type { InFlight } from "./lane.ts";
import { compareOpen, DigestWatch, judgeHeld } from "./resync.ts";

function inFlight(...entries: readonly (readonly [string, number, boolean])[]): Map<string, InFlight> {
  return new Map(
    entries.map(([eventId, revision, acknowledged]) => [
      eventId,
      { revision, acknowledged, inlineBytes: 0, digest: undefined, sentAtMs: 0, resent: 0 },
    ]),
  );
}
const digest = (...ids: string[]) => openDigest(ids.map((eventId) => ({ eventId, revision: 1 })));

describe("compareOpen", () => {
  test("finds what the agent lost and what it holds besides, by revision", () => {
    const here = inFlight(["both", 1, true], ["lost", 1, true], ["on its way", 1, false], ["newer", 2, true]);
    const held = [
      { event_id: "both", revision: 1, state: "running" as const },
      { event_id: "newer", revision: 1, state: "finished" as const },
      { event_id: "besides", revision: 3, state: "waiting" as const },
      { event_id: "besides", revision: 3, state: "waiting" as const },
    ];
    expect(compareOpen(here, held)).toEqual({
      lost: [
        { eventId: "lost", revision: 1 },
        { eventId: "newer", revision: 2 },
      ],
      strange: [
        { eventId: "newer", revision: 1 },
        { eventId: "besides", revision: 3 },
      ],
    });
  });

  test("where both agree there is nothing to mend", () => {
    expect(compareOpen(inFlight(), [])).toEqual({ lost: [], strange: [] });
  });
});

test("what is held is judged by where it stands", () => {
  expect(
    (["created", "queued", "assigned", "in_progress", "completed", "failed", "expired", "cancelled", undefined] as const).map(judgeHeld),
  ).toEqual(["claim", "claim", "adopt", "adopt", "leave", "leave", "leave", "recall", "leave"]);
});

describe("DigestWatch", () => {
  test("asks when the same difference stands twice running, and not for one that passes", () => {
    const watch = new DigestWatch();
    const answers = [
      watch.note(digest("a"), digest("a")),
      watch.note(digest("a"), digest()),
      watch.note(digest("a"), digest("a")),
      watch.note(digest("a"), digest()),
      watch.note(digest("a"), digest()),
    ];
    expect(answers).toEqual([false, false, false, false, true]);
  });

  test("under load no two differences are the same; six running count all the same", () => {
    const watch = new DigestWatch();
    const answers = Array.from({ length: 6 }, (_, at) => watch.note(digest(`here-${at}`), digest(`there-${at}`)));
    expect(answers).toEqual([false, false, false, false, false, true]);
  });

  test("asks again when the question may have been lost, and then only now and then", () => {
    const watch = new DigestWatch();
    const asked = Array.from({ length: 60 }, () => watch.note(digest("a"), digest("b"))).flatMap((ask, at) => (ask ? [at] : []));
    expect(asked.slice(0, 2)).toEqual([1, 3]);
    expect(asked.length).toBeLessThan(6);
  });

  test("an open digest does not depend on the order", () => {
    expect(digest("a", "b", "c")).toEqual(digest("c", "a", "b"));
    expect(digest("a")).not.toEqual(digest("b"));
  });
});
