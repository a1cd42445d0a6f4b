import { describe, expect, test } from "bun:test";
import { checkAgentFrame, LIMITS, type ResourceStatus } from "../protocol/mod.ts";
import type { Agreement } from "./registration.ts";
import { fitStatus, type Status, statusFrame, type StatusRecord } from "./status.ts";

const MODERN: Agreement = { protocol: 2, acknowledges: true, features: new Set(["ack"]) };
const OLD: Agreement = { protocol: 0, acknowledges: false, features: new Set() };

function record(status: Partial<StatusRecord> = {}): StatusRecord {
  return {
    state: "in_progress",
    phase: "received",
    message: "Event received, starting execution",
    level: "info",
    bootId: "boot",
    seq: 3,
    eventId: "e1",
    revision: 2,
    timestamp: "2026-11-22T02:14:57.029Z",
    ...status,
  };
}

describe("the frame of a status", () => {
  test("to a 0.1 control plane is 0.1's byte for byte: order of fields, null for what is absent, nothing of ours", () => {
    expect(statusFrame(record(), "agent-cluster-agent-1", OLD, 7)).toBe(
      '{"agent_id":"agent-cluster-agent-1","details":null,"event_id":"e1","log_level":"info","message":"Event received, starting execution","phase":"received","result":null,"state":"in_progress","timestamp":"2026-11-22T02:14:57.029Z","type":"status_update"}',
    );
  });

  test("a failure carries neither details nor result to 0.1, and both to ours", () => {
    const failed = record({
      state: "failed",
      phase: "failed",
      level: "error",
      details: { code: "UNKNOWN_KIND" },
      result: { success: false, resource_status: [], error_code: "UNKNOWN_KIND" },
    });
    expect(JSON.parse(statusFrame(failed, "a", OLD, 7))).toMatchObject({ details: null, result: null });
    expect(JSON.parse(statusFrame(failed, "a", MODERN, 7))).toMatchObject({
      details: { code: "UNKNOWN_KIND" },
      result: { success: false },
      revision: 2,
      boot_id: "boot",
      seq: 3,
      nth: 7,
    });
  });

  test("what would have been done is, in 0.1's words, unchanged: nobody is told of a change that was not made", () => {
    const resource_status = ["would_create", "would_update", "unchanged"].map((status) => ({ kind: "ConfigMap", name: status, status }));
    const dry = record({ state: "completed", phase: "completed", result: { success: true, resource_status } });
    const told = JSON.parse(statusFrame(dry, "a", OLD, 7)) as { result: { resource_status: ResourceStatus[] } };
    expect(told.result.resource_status.map((one) => one.status)).toEqual(["unchanged", "unchanged", "unchanged"]);
  });

  test("every other word of ours has one of 0.1's four, and fields that 0.1 does not know stay here", () => {
    const words: Readonly<Record<string, string>> = {
      created: "created",
      updated: "updated",
      failed: "failed",
      recreated: "updated",
      restarted: "updated",
      deleted: "updated",
      absent: "unchanged",
      pending: "unchanged",
      restored: "unchanged",
      removed: "unchanged",
      would_delete: "unchanged",
      would_recreate: "unchanged",
      would_restart: "unchanged",
      unknown: "unchanged",
    };
    const resource_status = Object.keys(words).map((status) => ({ kind: "ConfigMap", name: status, status, code: "INTERNAL", diff: "-a" }));
    const done = record({ state: "completed", phase: "completed", result: { success: true, plan: "p1-x", resource_status } });
    const told = JSON.parse(statusFrame(done, "a", OLD, 7)) as { result: { resource_status: ResourceStatus[] } };
    expect(told.result.resource_status).toEqual(Object.entries(words).map(([name, status]) => ({ kind: "ConfigMap", name, status })));
    expect(told.result).not.toHaveProperty("plan");
    expect(JSON.parse(statusFrame(done, "a", MODERN, 7))).toMatchObject({ result: { plan: "p1-x", resource_status } });
  });

  test("passes the control plane's check", () => {
    expect(checkAgentFrame(JSON.parse(statusFrame(record(), "a", MODERN, 7))).ok).toBe(true);
    expect(checkAgentFrame(JSON.parse(statusFrame(record({ revision: undefined }), "a", OLD, 7))).ok).toBe(true);
  });
});

function resources(count: number, status = "created"): ResourceStatus[] {
  return Array.from({ length: count }, (_, at) => ({
    kind: "ConfigMap",
    name: `settings-${at}`,
    namespace: "web",
    api_version: "v1",
    status,
    message: "x".repeat(400),
  }));
}

function big(resource_status: ResourceStatus[]): Status {
  return {
    state: "completed",
    phase: "completed",
    message: "Event completed successfully",
    level: "info",
    result: { success: true, resource_status },
  };
}

describe("a status that must fit into a frame", () => {
  test("is left alone when it does", () => {
    const status = big(resources(10));
    expect(fitStatus(status)).toEqual(status);
  });

  test("loses words about what went well first, objects after that, failed ones last, and says so", () => {
    const status = big([...resources(1000), ...resources(3, "failed")]);
    const terse = fitStatus(status, 200_000);
    expect(terse.result?.resource_status).toHaveLength(1003);
    expect(terse.result?.resource_status?.filter((one) => one.message !== undefined).map((one) => one.status)).toEqual([
      "failed",
      "failed",
      "failed",
    ]);
    const cut = fitStatus(status, 20_000);
    expect(JSON.stringify(cut).length).toBeLessThanOrEqual(20_000);
    expect(cut.result?.resource_status?.filter((one) => one.status === "failed")).toHaveLength(3);
    expect(cut.message).toMatch(/^Event completed successfully \(the state of \d+ of 1003 objects does not fit into the report\)$/);
  });

  test("a message of any length is cut at the wire's limit without breaking a character in two", () => {
    const status = fitStatus({ state: "failed", phase: "failed", level: "error", message: "💥".repeat(LIMITS.messageChars) });
    expect(status.message.length).toBeLessThanOrEqual(LIMITS.messageChars);
    expect(status.message.isWellFormed()).toBe(true);
    expect(status.message.endsWith("…")).toBe(true);
  });

  test("huge details and error messages cannot make it too large either", () => {
    const status = fitStatus(
      {
        ...big(resources(5, "failed")),
        details: { faults: Array.from({ length: 1000 }, () => "y".repeat(100)) },
        message: "m".repeat(50_000),
        result: { success: false, resource_status: resources(5, "failed"), error_message: "e".repeat(60_000) },
      },
      45_000,
    );
    expect(JSON.stringify(status).length).toBeLessThanOrEqual(45_000);
    expect(status.result?.resource_status).toHaveLength(5);
  });
});
