import { expect, test } from "bun:test";
import { ASSUMED, capacity, type Figures, figuresOf, told } from "../../scripts/capacity.ts";
import { codeBlocks, readText } from "./markdown.ts";

const page = await readText("docs/scaling.md");
const WISH = { agents: 5_000, eventsPerDay: 2_000_000, peak: 10, payloadBytes: 2_000, retentionDays: 7 };

test("the example of the page is what the calculator says with the page's own figures", () => {
  const example = codeBlocks(page).find(({ text }) => text.startsWith("5,000 agents"));
  expect(example?.text.trim()).toBe(told(WISH, capacity(figuresOf(page), WISH)).trim());
});

const figures: Figures = {
  "cp-cpu-us": 200,
  "redis-cpu-us": 100,
  "redis-event-bytes": 2_000,
  "redis-event-aof-bytes": 6_000,
  "agent-bytes": 2 ** 20,
  "heartbeat-cpu-us": 100,
  "cp-base-mib": 50,
  "registrations-per-second": 1_000,
};

test("it counts as one would by hand", () => {
  const found = capacity(figures, { agents: 1_000, eventsPerDay: 86_400 * 100, peak: 60, payloadBytes: 0, retentionDays: 1 });
  expect(found.peakPerSecond).toBe(6_000);
  // 6,000 events of 200 µs and 100 heartbeats of 100 µs a second.
  expect(found.cpCores).toBeCloseTo(1.21, 6);
  expect(found.replicas).toBe(3 + ASSUMED.spare);
  expect(found.redisCore).toBeCloseTo(0.6, 6);
  expect(found.redisMiB).toBeCloseTo((86_400 * 100 * 2_000) / 2 ** 20, 6);
  expect(found.cpMiB).toBeCloseTo(50 + 1_000 / 3, 6);
});

test("it says when one Redis is not enough", () => {
  const wish = { ...WISH, eventsPerDay: 86_400 * 700 };
  expect(told(wish, capacity(figures, wish))).toContain("MORE THAN ONE REDIS");
});
