import { TransporterError } from "../../src/kit/mod.ts";
import type { Store } from "../../src/stores/mod.ts";
import { newEvent, statusOf } from "../support/store-inputs.ts";

/** The walk of one event, each step asked for until it has an answer. Answers what must never be: something done twice, or told wrongly. */
export async function walk(store: Store, id: string, agentId: string): Promise<readonly string[]> {
  const wrong: string[] = [];
  let unknown = false;
  const insist = async <T>(step: () => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await step();
      } catch (error) {
        if (!(error instanceof TransporterError) || error.code !== "STORE_UNAVAILABLE") throw error;
        unknown = true;
        await Bun.sleep(10);
      }
    }
  };
  const input = newEvent({ id, agentId, state: "assigned", epoch: 1 });
  const created = await insist(() => store.createEvent(input));
  if (created.kind !== "created" && !(unknown && created.kind === "duplicate")) wrong.push(`${id} ${created.kind}`);
  for (let seq = 1; seq <= 5; seq += 1) {
    unknown = false;
    const status = statusOf(input, seq < 5 ? "in_progress" : "completed", { bootId: "b", seq, revision: 1, epoch: 1 });
    const { verdict } = await insist(() => store.applyStatus(status));
    if (verdict !== "apply" && !(unknown && verdict === "stale")) wrong.push(`${id} ${seq} ${verdict}`);
  }
  return wrong;
}
