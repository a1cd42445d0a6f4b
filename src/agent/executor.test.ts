import { describe, expect, test } from "bun:test";
import { manualPorts, type ManualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import type { ParsedObject } from "../manifests/mod.ts";
import { RETRY_DEFAULTS, type ResourceStatus } from "../protocol/mod.ts";
import { redactText } from "../redaction/mod.ts";
import type { Work } from "./delivery.ts";
import { type Ending, type Execution, Executor, type ResourceSteps, type StepContext } from "./executor.ts";
import type { ScriptPayload, ScriptRunner } from "./script.ts";
import type { Status } from "./status.ts";

const WORK: Work = {
  eventId: "e",
  revision: 1,
  type: "k8s_resource",
  priority: 0,
  deadlineMs: 3_600_000,
  verifyTimeoutMs: 120_000,
  forceConflicts: false,
  retry: RETRY_DEFAULTS,
  traceparent: undefined,
  fault: undefined,
};

function object(name: string): ParsedObject {
  return {
    object: { apiVersion: "v1", kind: "ConfigMap", metadata: { name } },
    ref: { group: "", version: "v1", kind: "ConfigMap", namespace: "default", name },
    source: { manifest: 0, document: 1, line: 1 },
  };
}

/** Rejects with the signal's reason; never resolves. */
function until(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error));
  });
}

interface Script {
  /** Errors of the attempts, from the first on; after the last, all goes well. */
  readonly failures?: readonly Error[];
  readonly at?: "validate" | "apply" | "verify";
  /** Stands still there until the execution is ended from outside. */
  readonly hangs?: "validate" | "apply" | "verify";
}

interface Trial {
  readonly manual: ManualPorts;
  readonly said: Status[];
  readonly cancel: AbortController;
  readonly stop: AbortController;
  readonly steps: string[];
  readonly ending: Promise<Ending>;
}

function trial(
  script: Script,
  more: { work?: Partial<Work>; execution?: Partial<Execution>; runner?: ScriptRunner; readOnly?: boolean; others?: boolean } = {},
): Trial {
  const manual = manualPorts();
  const steps: string[] = [];
  const failures = [...(script.failures ?? [])];
  const statuses: ResourceStatus[] = [];
  const resources = (objects: readonly ParsedObject[], context: StepContext): ResourceSteps => {
    const step = async (name: "validate" | "apply" | "verify"): Promise<void> => {
      steps.push(name);
      await Promise.resolve();
      if (name === "apply") {
        statuses.length = 0;
        for (const [index, one] of objects.entries())
          statuses.push({ kind: one.ref.kind, name: one.ref.name, status: index === 0 ? "created" : "pending" });
      }
      // What is being applied ends only when it is told to stop between two objects.
      if (script.hangs === name) await until(name === "apply" ? context.halt : context.signal);
      const failure = (script.at ?? "apply") === name ? failures.shift() : undefined;
      if (failure !== undefined) throw failure;
    };
    return {
      validate: () => step("validate"),
      preview: () => Promise.resolve(),
      apply: () => step("apply"),
      verify: () => step("verify"),
      resources: () => statuses,
    };
  };
  const said: Status[] = [];
  const cancel = new AbortController();
  const stop = new AbortController();
  const executor = new Executor({
    readOnly: more.readOnly === true,
    requireImpersonation: more.others === true,
    ports: manual.ports,
    log: silentLogger,
    resources,
    ...(more.runner === undefined ? {} : { runners: { script: more.runner } }),
  });
  const ending = executor.execute({
    work: { ...WORK, ...more.work },
    content: [object("a"), object("b")],
    resumed: false,
    recovered: false,
    report: (status) => void said.push(status),
    started: () => Promise.resolve(),
    keep: { lasting: true, set: () => Promise.resolve(), get: () => Promise.resolve(undefined) },
    cancel: cancel.signal,
    stop: stop.signal,
    abandon: new AbortController().signal,
    ...more.execution,
  });
  return { manual, said, cancel, stop, steps, ending };
}

const AWAY = new TransporterError("KUBE_UNAVAILABLE", "the API server is away");

function statusOf(ending: Ending): Status {
  if (ending.kind !== "ended") throw new Error("it was interrupted");
  return ending.status;
}

test("a read-only agent vouches for no more than its own process: the one before may have been allowed to write", async () => {
  const fresh = trial({}, { readOnly: true });
  expect(statusOf(await fresh.ending)).toMatchObject({ message: "Read-only: nothing was changed" });
  const resumed = trial({}, { readOnly: true, execution: { resumed: true, recovered: true } });
  expect(statusOf(await resumed.ending).message).toContain("since the agent's restart; what the event may have changed before that stays");
});

describe("what can heal", () => {
  test("is tried again, from the first step on, and each failure is told", async () => {
    const { manual, said, steps, ending } = trial({ failures: [AWAY, AWAY] });
    await manual.advance(10_000);
    expect(statusOf(await ending)).toMatchObject({ state: "completed" });
    expect(steps).toEqual(["validate", "apply", "validate", "apply", "validate", "apply", "verify"]);
    // Half of 1 s and half of 2 s: the random number is 0.5.
    expect(said.filter((status) => status.level === "warning").map((status) => [status.state, status.details])).toEqual([
      ["in_progress", { attempt: 1, of: 8, code: "KUBE_UNAVAILABLE", retry_in_ms: 500 }],
      ["in_progress", { attempt: 2, of: 8, code: "KUBE_UNAVAILABLE", retry_in_ms: 1_000 }],
    ]);
    expect(said.map((status) => status.message)).toContain("Validating event payload (attempt 3 of 8)");
  });

  test("fails in the end with the last error, and says how often it was tried", async () => {
    const last = new TransporterError("APPLY_FAILED", "failed calling webhook", { details: { http_status: 500 } });
    const { manual, steps, ending } = trial({ failures: [AWAY, AWAY, last] }, { work: { retry: { ...RETRY_DEFAULTS, attempts: 3 } } });
    await manual.advance(60_000);
    expect(statusOf(await ending)).toMatchObject({
      state: "failed",
      message: "failed calling webhook (tried 3 times)",
      details: { code: "APPLY_FAILED", attempts: 3 },
      result: { success: false, error_code: "APPLY_FAILED" },
    });
    expect(steps.filter((step) => step === "apply")).toHaveLength(3);
  });

  test("is not tried again when it cannot heal", async () => {
    const { steps, ending } = trial({ failures: [new TransporterError("FORBIDDEN", "may not")] });
    expect(statusOf(await ending)).toMatchObject({ state: "failed", message: "may not" });
    expect(steps).toEqual(["validate", "apply"]);
  });

  test("waits no longer than the deadline, and then fails with its own error", async () => {
    const { manual, ending } = trial(
      { failures: Array.from({ length: 9 }, () => AWAY) },
      { work: { deadlineMs: 1_200, retry: { ...RETRY_DEFAULTS, attempts: 9 } } },
    );
    await manual.advance(1_100);
    expect(statusOf(await ending)).toMatchObject({
      details: { code: "KUBE_UNAVAILABLE", attempts: 2 },
      message: expect.stringContaining("no time was left"),
    });
  });

  test("is left to the next process when the agent stops meanwhile", async () => {
    const { manual, stop, ending } = trial({ failures: [AWAY] });
    await manual.advance(100);
    stop.abort();
    expect(await ending).toEqual({ kind: "interrupted" });
  });
});

describe("called back", () => {
  test("before anything is changed, it ends at once and lists every object as untouched", async () => {
    const { manual, cancel, steps, ending } = trial({ hangs: "validate" });
    await manual.settle();
    cancel.abort();
    expect(statusOf(await ending)).toMatchObject({
      state: "cancelled",
      phase: "failed",
      message: "Event cancelled before anything was changed",
      details: { code: "EVENT_CANCELLED" },
      result: {
        success: false,
        error_code: "EVENT_CANCELLED",
        resource_status: [
          { name: "a", status: "pending" },
          { name: "b", status: "pending" },
        ],
      },
    });
    expect(steps).toEqual(["validate"]);
  });

  test("while applying, what is being applied is finished; what was done is told", async () => {
    const { manual, cancel, steps, ending } = trial({ hangs: "apply" });
    await manual.settle();
    cancel.abort();
    expect(statusOf(await ending)).toMatchObject({
      state: "cancelled",
      message: "Event cancelled while changes were being applied",
      result: {
        resource_status: [
          { name: "a", status: "created" },
          { name: "b", status: "pending" },
        ],
      },
    });
    expect(steps).toEqual(["validate", "apply"]);
  });

  test("while waiting for readiness and while waiting for another attempt, it ends at once", async () => {
    const verifying = trial({ hangs: "verify" });
    await verifying.manual.settle();
    verifying.cancel.abort();
    expect(statusOf(await verifying.ending)).toMatchObject({ state: "cancelled", message: expect.stringContaining("become ready") });
    const waiting = trial({ failures: [AWAY] });
    await waiting.manual.advance(100);
    waiting.cancel.abort();
    expect(statusOf(await waiting.ending)).toMatchObject({ state: "cancelled", message: expect.stringContaining("between two attempts") });
    expect(waiting.steps).toEqual(["validate", "apply"]);
  });

  test("already before it starts, nothing is asked of the cluster", async () => {
    const cancel = new AbortController();
    cancel.abort();
    const { steps, ending } = trial({}, { execution: { cancel: cancel.signal } });
    expect(statusOf(await ending).state).toBe("cancelled");
    expect(steps).toEqual([]);
  });

  test("too late, it ends as it does; and a failure of its own is told as such", async () => {
    const done = trial({});
    expect(statusOf(await done.ending).state).toBe("completed");
    done.cancel.abort();
    expect(statusOf(await done.ending).state).toBe("completed");
    const cancel = new AbortController();
    const failing = trial({ failures: [new TransporterError("FORBIDDEN", "may not")] }, { execution: { cancel: cancel.signal } });
    // It comes while an object is being applied, and that object is refused.
    await Promise.resolve();
    while (!failing.steps.includes("apply")) await Promise.resolve();
    cancel.abort();
    expect(statusOf(await failing.ending)).toMatchObject({ state: "failed", details: { code: "FORBIDDEN" } });
  });

  test("during an attempt that then fails and could heal, there is no further one", async () => {
    const trying = trial({ failures: [AWAY] });
    while (!trying.steps.includes("apply")) await Promise.resolve();
    trying.cancel.abort();
    await trying.manual.advance(60_000);
    expect(statusOf(await trying.ending).state).toBe("cancelled");
    expect(trying.steps).toEqual(["validate", "apply"]);
  });
});

describe("a script", () => {
  const payload: ScriptPayload = { script: "echo hello", args: ["--now"] };
  const work = { type: "script" };

  test("runs only once its start is durable, and its end is the event's", async () => {
    const order: string[] = [];
    const started = Promise.withResolvers<void>();
    const runner: ScriptRunner = (_work, given) => {
      order.push(`run ${given.script} ${given.args.join(" ")}`);
      return Promise.resolve({ success: true, exit_code: 0 });
    };
    const { manual, ending } = trial({}, { work, runner, execution: { content: payload, started: () => started.promise } });
    await manual.advance(60_000);
    order.push("durable");
    started.resolve();
    expect(statusOf(await ending)).toMatchObject({ state: "completed", result: { success: true, exit_code: 0 } });
    expect(order).toEqual(["durable", "run echo hello --now"]);
  });

  test("is never tried again, even where it fails by what could heal", async () => {
    let runs = 0;
    const runner: ScriptRunner = () => {
      runs += 1;
      return Promise.reject(AWAY);
    };
    const { manual, ending } = trial({}, { work, runner, execution: { content: payload } });
    await manual.advance(60_000);
    expect(statusOf(await ending)).toMatchObject({ state: "failed", details: { code: "KUBE_UNAVAILABLE" } });
    expect(runs).toBe(1);
  });

  test("that says of itself that it failed fails the event with its words", async () => {
    const runner: ScriptRunner = () => Promise.resolve({ success: false, error_message: "exit code 3" });
    const { ending } = trial({}, { work, runner, execution: { content: payload } });
    expect(statusOf(await ending)).toMatchObject({ state: "failed", message: "exit code 3", details: { code: "EVENT_FAILED" } });
  });

  test("is told when it is called back, and the event is cancelled when it ends for that", async () => {
    const runner: ScriptRunner = (_work, _payload, { signal }) => until(signal);
    const { manual, cancel, ending } = trial({}, { work, runner, execution: { content: payload } });
    await manual.settle();
    cancel.abort();
    expect(statusOf(await ending)).toMatchObject({ state: "cancelled" });
  });

  test("goes on while the agent stops, for as long as it is given", async () => {
    const end = Promise.withResolvers<{ success: boolean }>();
    const { manual, stop, ending } = trial({}, { work, runner: () => end.promise, execution: { content: payload } });
    await manual.settle();
    stop.abort();
    await manual.settle();
    end.resolve({ success: true });
    expect(statusOf(await ending)).toMatchObject({ state: "completed" });
  });

  test("is refused by an agent without a runner, by one that is read-only, and by one that does nothing as itself", async () => {
    const without = trial({}, { work, execution: { content: payload } });
    expect(statusOf(await without.ending)).toMatchObject({ details: { code: "CAPABILITY_MISSING" } });
    const readOnly = trial({}, { work, readOnly: true, runner: () => Promise.reject(new Error("never")), execution: { content: payload } });
    expect(statusOf(await readOnly.ending)).toMatchObject({ details: { code: "READ_ONLY" } });
    const others = trial({}, { work, others: true, runner: () => Promise.reject(new Error("never")), execution: { content: payload } });
    expect(statusOf(await others.ending)).toMatchObject({ details: { code: "IMPERSONATION_REQUIRED" } });
  });
});

describe("what an API server quotes of a Secret", () => {
  const secret: ParsedObject = {
    object: { apiVersion: "v1", kind: "Secret", metadata: { name: "db" }, stringData: { pin: 12345678, pw: "hunter2-and-more" } },
    ref: { group: "", version: "v1", kind: "Secret", namespace: "default", name: "db" },
    source: { manifest: 0, document: 1, line: 1 },
  };

  test("stays here, in words on the way and at the end, while its name is told", async () => {
    const quoting = (code: "KUBE_UNAVAILABLE" | "APPLY_FAILED"): TransporterError =>
      new TransporterError(code, "Secret default/db: .stringData.pin: expected string, got 12345678 beside hunter2-and-more");
    const { manual, said, ending } = trial(
      { failures: [quoting("KUBE_UNAVAILABLE"), quoting("APPLY_FAILED")] },
      { execution: { content: [secret] } },
    );
    await manual.advance(60_000);
    const end = statusOf(await ending);
    expect(said.some(({ level }) => level === "warning")).toBe(true);
    for (const status of [...said, end]) expect(JSON.stringify(status)).not.toMatch(/12345678|hunter2/);
    expect(end.message).toContain("Secret default/db: .stringData.pin: expected string, got [redacted] beside [redacted]");
    expect(end.result?.error_message).toContain("[redacted]");
  });

  test("is forgotten with the event", async () => {
    const { ending } = trial({}, { execution: { content: [secret] } });
    await ending;
    expect(redactText("hunter2-and-more")).toBe("hunter2-and-more");
  });
});
