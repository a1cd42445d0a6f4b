import { describe, expect, test } from "bun:test";
import type { Json } from "../http/json.ts";
import { contentOperations, isMadeByOthers, managersToRestore, refuseRemaking, wasWritten, withOwners } from "./restore-content.ts";

function entry(manager: string, time: string, more: Json = {}): Json {
  return { manager, operation: "Apply", time, fieldsV1: { "f:data": {} }, ...more };
}

function object(more: Json, managedFields: readonly Json[] = [], metadata: Json = {}): Json {
  return { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "a", managedFields, ...metadata }, ...more };
}

const AT = "2026-01-01T00:00:10Z";
const LATER = "2026-01-01T00:00:11Z";
const SEEN = Date.parse(AT);

describe("what makes an object what it was", () => {
  test("is a patch of its fields and of what people write in its metadata, and nothing of the bookkeeping", () => {
    const live = object({ data: { a: "2" }, added: 1, status: { x: 2 } }, [], { labels: { a: "b" }, resourceVersion: "7", generation: 3 });
    const before = object({ data: { a: "1" }, "odd/~key": [1], status: { x: 1 } }, [], { annotations: { c: "d" }, resourceVersion: "5" });
    expect(contentOperations(live, before, "transporter")).toEqual([
      { op: "add", path: "/data", value: { a: "1" } },
      { op: "remove", path: "/added" },
      { op: "add", path: "/odd~1~0key", value: [1] },
      { op: "remove", path: "/metadata/labels" },
      { op: "add", path: "/metadata/annotations", value: { c: "d" } },
    ]);
    expect(contentOperations(before, before, "transporter")).toEqual([]);
  });

  test("takes the status along only where it is written with the object", () => {
    const ours = [entry("transporter", AT, { fieldsV1: { "f:status": {} } })];
    const change = contentOperations(object({ status: { x: 2 } }, ours), object({ status: { x: 1 } }), "transporter");
    expect(change).toEqual([{ op: "add", path: "/status", value: { x: 1 } }]);
    const theirs = [entry("transporter", AT, { subresource: "status", fieldsV1: { "f:status": {} } })];
    expect(contentOperations(object({ status: { x: 2 } }, theirs), object({ status: { x: 1 } }), "transporter")).toEqual([]);
  });
});

describe("whether the event wrote to an object", () => {
  const before = object({ data: { a: "1" } }, [entry("transporter", AT)]);

  test("is told by a stamp of ours that was not there, under each of our names", () => {
    for (const name of ["transporter", "transporter-patch", "transporter-restart"]) {
      const live = object({ data: { a: "2" } }, [entry("transporter", AT), entry(name, LATER)]);
      expect(wasWritten(live, before, SEEN, "transporter")).toBe(true);
    }
    expect(
      wasWritten(object({ data: { a: "2" } }, [entry("transporter", AT), entry("people", LATER)]), before, SEEN + 1_000, "transporter"),
    ).toBe(false);
  });

  test("is taken for granted within the second of the look, where something is different", () => {
    const live = object({ data: { a: "2" } }, [entry("transporter", AT)]);
    expect(wasWritten(live, before, SEEN, "transporter")).toBe(true);
    expect(wasWritten(before, before, SEEN, "transporter")).toBe(false);
    expect(wasWritten(live, before, SEEN + 1_000, "transporter")).toBe(false);
    expect(wasWritten(live, before, undefined, "transporter")).toBe(true);
  });

  test("also where it only gave fields up", () => {
    const live = object({ data: { a: "1" } }, [entry("transporter", AT, { fieldsV1: {} })]);
    expect(wasWritten(live, before, SEEN + 5_000, "transporter")).toBe(true);
  });

  test("and who made a new one: nobody is named where it has no field of its own", () => {
    expect(isMadeByOthers(object({}), "transporter")).toBe(false);
    expect(isMadeByOthers(object({}, [entry("kubectl-create", AT)]), "transporter")).toBe(true);
    expect(isMadeByOthers(object({}, [entry("kubectl-create", AT), entry("transporter", AT)]), "transporter")).toBe(false);
    expect(isMadeByOthers(object({}, [entry("controller", AT, { subresource: "status" })]), "transporter")).toBe(false);
  });
});

test("the entries of before stand there again, and those of controllers that have written a status since", () => {
  const status = entry("controller", LATER, { subresource: "status" });
  const before = object({}, [entry("transporter", AT), entry("old", AT, { subresource: "status" })]);
  const live = object({}, [entry("transporter", LATER), entry("people", LATER), status, entry("old", LATER, { subresource: "status" })]);
  expect(managersToRestore(live, before)).toEqual([entry("transporter", AT), entry("old", AT, { subresource: "status" }), status]);
});

test("what had ended is not made again, as it would run again", () => {
  const job = (type: string, status: string): Json => ({ kind: "Job", status: { conditions: [{ type, status }] } });
  expect(refuseRemaking(job("Complete", "True"))).toContain("runs again");
  expect(refuseRemaking(job("Failed", "True"))).toContain("runs again");
  expect(refuseRemaking(job("Complete", "False"))).toBeUndefined();
  expect(refuseRemaking(job("Suspended", "True"))).toBeUndefined();
  expect(refuseRemaking({ kind: "Pod", status: { phase: "Succeeded" } })).toContain("runs again");
  expect(refuseRemaking({ kind: "Pod", status: { phase: "Running" } })).toBeUndefined();
  expect(refuseRemaking({ kind: "Namespace", status: { phase: "Active" } })).toBeUndefined();
});

test("owners that were made again are named by their new uid, and others as they were", () => {
  const owned = object({}, [], { ownerReferences: [{ uid: "old" }, { uid: "other" }] });
  const renewed = withOwners(owned, new Map([["old", "new"]]));
  expect((renewed["metadata"] as Json)["ownerReferences"]).toEqual([{ uid: "new" }, { uid: "other" }]);
  expect(withOwners(owned, new Map())).toBe(owned);
});
