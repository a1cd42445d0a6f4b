import { expect, test } from "bun:test";
import { manualPorts, silentLogger } from "../kit/mod.ts";
import type { Store, SweepInput, Swept } from "../stores/mod.ts";
import { Retention } from "./retention.ts";

function trial(answers: readonly Partial<Swept>[], due = true) {
  const asked: SweepInput[] = [];
  const store = {
    sweep(input: SweepInput): Promise<Swept> {
      const answer = { events: 0, audit: 0, documents: 0, ...answers[asked.length] };
      asked.push(input);
      return Promise.resolve(answer);
    },
  } as Store;
  const manual = manualPorts();
  const retention = new Retention({ store, ports: manual.ports, log: silentLogger, eventsMs: 5_000, auditMs: 60_000, isDue: () => due });
  return { asked, manual, retention };
}

test("what is older than it is kept goes, and documents past their time, by this clock", async () => {
  const { asked, manual, retention } = trial([]);
  await retention.run();
  const nowMs = manual.ports.clock.now();
  expect(asked).toEqual([{ finishedBeforeMs: nowMs - 5_000, auditBeforeMs: nowMs - 60_000, nowMs, limit: 200 }]);
});

test.each(["events", "audit", "documents"] as const)("a full step of %s is followed by another, after a pause", async (what) => {
  const { asked, manual, retention } = trial([{ [what]: 200 }, { [what]: 200 }, { [what]: 199 }]);
  const running = retention.run();
  await manual.advance(1_000);
  await running;
  expect(asked).toHaveLength(3);
});

test("it is left to whoever has the duty", async () => {
  const { asked, retention } = trial([], false);
  await retention.run();
  expect(asked).toEqual([]);
});
