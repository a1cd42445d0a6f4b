import { describe, expect, test } from "bun:test";
import { manualPorts, type ManualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import type { ResourceStatus } from "../protocol/mod.ts";
import type { Undo, Undone } from "./executor.ts";
import type { Keep } from "./keep.ts";
import { type Failure, failureOf, keptFailure, rollBack, type RolledBack, rollbackLost } from "./rollback.ts";

const RESTORED: ResourceStatus = { kind: "ConfigMap", name: "a", status: "restored" };
const REMOVED: ResourceStatus = { kind: "ConfigMap", name: "b", status: "removed" };
const AWAY = new TransporterError("KUBE_UNAVAILABLE", "the API server is away");
const DENIED = new TransporterError("FORBIDDEN", "ConfigMap a: may not");
const CAUSE = new TransporterError("VERIFY_FAILED", "Job j failed", { details: { object: "Job j" }, remedy: "Look at j." });

function memory(texts = new Map<string, string>()): Keep {
  return {
    lasting: true,
    set(name, text) {
      texts.set(name, text);
      return Promise.resolve();
    },
    get: (name) => Promise.resolve(texts.get(name)),
  };
}

interface Trial {
  readonly manual: ManualPorts;
  readonly abandon: AbortController;
  readonly runs: number[];
  readonly ending: Promise<RolledBack>;
}

/** Each run answers the next of these, the last one again and again. */
function trial(
  answers: readonly Undone[],
  more: { readonly keep?: Keep; readonly failure?: Failure; readonly objects?: number } = {},
): Trial {
  const manual = manualPorts();
  const abandon = new AbortController();
  const runs: number[] = [];
  let objects = 0;
  const undo: Undo = {
    owed: () => Promise.resolve(true),
    run(_known, signal, onObject) {
      signal.throwIfAborted();
      runs.push(manual.ports.clock.monotonic());
      if (objects < (more.objects ?? 0)) onObject(`object ${(objects += 1)}`);
      onObject("the same");
      const answer = answers[Math.min(runs.length, answers.length) - 1];
      return answer === undefined ? Promise.reject(new Error("lost")) : Promise.resolve(answer);
    },
  };
  const ending = rollBack(undo, more.failure ?? failureOf(CAUSE, [], false), {
    keep: more.keep ?? memory(),
    ports: manual.ports,
    log: silentLogger,
    abandon: abandon.signal,
  });
  return { manual, abandon, runs, ending };
}

const fault = (error: TransporterError): Undone => ({ resources: [RESTORED], faults: [{ object: "ConfigMap a", error }] });

describe("a rollback", () => {
  test("that puts everything back keeps the first cause, its remedy and its details, and counts", async () => {
    const { ending } = trial([{ resources: [RESTORED, REMOVED, { ...REMOVED, name: "c" }], faults: [] }]);
    const { error, cancelled } = await ending;
    expect(error).toMatchObject({
      code: "VERIFY_FAILED",
      message: "Job j failed; rolled back: 1 object was restored and 2 objects were removed",
      details: { object: "Job j", rolled_back: true },
      remedy: "Look at j.",
    });
    expect(cancelled).toBe(false);
  });

  test("is tried again while what is in the way can heal", async () => {
    const { manual, runs, ending } = trial([fault(AWAY), fault(AWAY), { resources: [RESTORED], faults: [] }]);
    await manual.advance(60_000);
    expect((await ending).error.message).toContain("rolled back: 1 object was restored");
    expect(runs).toHaveLength(3);
  });

  test("is given up after five minutes in which nothing moved, and names what is not as it was", async () => {
    const { manual, ending } = trial([fault(AWAY)]);
    await manual.advance(290_000);
    expect(await Promise.race([ending, "open"])).toBe("open");
    await manual.advance(20_000);
    const { error } = await ending;
    expect(error.code).toBe("ROLLBACK_FAILED");
    expect(error.message).toBe(
      "not everything is as it was before the event: the API server is away; nothing more could be put back for 5 minutes, and it was given up; it had failed with VERIFY_FAILED: Job j failed",
    );
    expect(error.details).toMatchObject({ cause: { code: "VERIFY_FAILED", message: "Job j failed" }, fault_count: 2 });
  });

  test("goes on for as long as something moves", async () => {
    const { manual, ending } = trial([fault(AWAY)], { objects: 100 });
    await manual.advance(600_000);
    expect(await Promise.race([ending, "open"])).toBe("open");
    await manual.advance(1_200_000);
    expect((await ending).error.code).toBe("ROLLBACK_FAILED");
  });

  test("ends at once by what no waiting helps", async () => {
    const { runs, ending } = trial([fault(DENIED)]);
    expect((await ending).error.message).toBe(
      "not everything is as it was before the event: ConfigMap a: may not; it had failed with VERIFY_FAILED: Job j failed",
    );
    expect(runs).toHaveLength(1);
  });

  test("of an event that was called back leaves it cancelled, unless something is not as it was", async () => {
    const called = failureOf(new TransporterError("EVENT_CANCELLED", "Event cancelled while waiting"), [], true);
    const whole = await trial([{ resources: [], faults: [] }], { failure: called }).ending;
    expect(whole).toMatchObject({
      cancelled: true,
      error: { message: "Event cancelled while waiting; rolled back: nothing had been changed" },
    });
    const broken = await trial([fault(DENIED)], { failure: called }).ending;
    expect(broken).toMatchObject({ cancelled: false, error: { code: "ROLLBACK_FAILED" } });
    expect(broken.error.message).toEndWith("; Event cancelled while waiting");
  });

  test("is on disk before anything is put back, for the process that comes after; a ledger that fails does not keep it from being done", async () => {
    const keep = memory();
    const failure = failureOf(CAUSE, [RESTORED], false);
    await trial([{ resources: [], faults: [] }], { keep, failure }).ending;
    expect(await keptFailure(keep)).toEqual(failure);
    expect(await keptFailure(memory())).toBeUndefined();
    expect(await keptFailure(memory(new Map([["rollback", '{"code":"NO_SUCH_CODE"}']])))).toBeUndefined();
    const full = { ...memory(), set: () => Promise.reject(new TransporterError("STORE_FULL", "full")) };
    expect((await trial([{ resources: [], faults: [] }], { keep: full }).ending).error.code).toBe("VERIFY_FAILED");
  });

  test("is left to the next process when the agent is told to go", async () => {
    const { manual, abandon, ending } = trial([fault(AWAY)]);
    await manual.settle();
    const gone = new Error("gone");
    abandon.abort(gone);
    expect(await ending.catch((error: unknown) => error)).toBe(gone);
  });

  test("that cannot even begin says that nothing was put back", () => {
    expect(rollbackLost(CAUSE, new Error("no disk"))).toMatchObject({
      code: "ROLLBACK_FAILED",
      message:
        "nothing was put back, because what there was before cannot be read from the agent's ledger: no disk; it had failed with VERIFY_FAILED: Job j failed",
    });
    expect(rollbackLost(undefined, new Error("no disk")).message).toEndWith("; the event was called back");
  });
});
