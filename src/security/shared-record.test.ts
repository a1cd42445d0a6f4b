import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { memoryDocuments } from "./memory-documents.ts";
import { openInstallation } from "./installation.ts";
import { codeOf, testParts } from "./parts-for-tests.ts";
import { SharedRecords } from "./shared-record.ts";

const Schema = v.object({ count: v.number(), untilMs: v.optional(v.number()) });

function bench() {
  const documents = memoryDocuments();
  const records = new SharedRecords({ documents, tenant: "default", kind: "thing", schema: Schema, expiresAtMs: ({ untilMs }) => untilMs });
  return { documents, records };
}

describe("shared records", () => {
  test("are made once, with their audit and their time", async () => {
    const { documents, records } = bench();
    const audit = { tenant: "default", atMs: 1, principal: "p", action: "made" };
    expect(await records.make("a", { count: 1, untilMs: 7 }, audit)).toBe(true);
    expect(await records.make("a", { count: 2 }, { ...audit, action: "again" })).toBe(false);
    expect(await records.get("a")).toMatchObject({ id: "a", version: 1, record: { count: 1 } });
    expect(documents.of("thing")).toMatchObject([{ id: "a", expiresAtMs: 7 }]);
    expect(documents.audit).toStrictEqual([audit]);
  });

  test("carry an audit line only where there is one", async () => {
    const { documents, records } = bench();
    const write = documents.writeDocument.bind(documents);
    const keys: string[] = [];
    documents.writeDocument = (of) => {
      keys.push(...Object.keys(of).filter((key) => key === "audit"));
      return write(of);
    };
    await records.make("a", { count: 1 });
    await records.change("a", () => ({ record: { count: 2 } }));
    expect(keys).toStrictEqual([]);
  });

  test("are changed on what is there, whoever was quicker", async () => {
    const { records } = bench();
    await records.make("a", { count: 0 });
    await Promise.all(Array.from({ length: 5 }, () => records.change("a", ({ count }) => ({ record: { count: count + 1 } }))));
    expect((await records.get("a"))?.record).toStrictEqual({ count: 5 });
  });

  test("are left alone where nothing is to be changed, and where nothing is", async () => {
    const { documents, records } = bench();
    await records.make("a", { count: 3 });
    expect(await records.change("a", () => undefined)).toMatchObject({ version: 1, record: { count: 3 } });
    expect(await records.change("b", () => ({ record: { count: 1 } }))).toBeUndefined();
    expect(documents.of("thing")).toHaveLength(1);
  });

  test("are given up where others change them without end", async () => {
    const { documents, records } = bench();
    await records.make("a", { count: 0 });
    let tries = 0;
    documents.writeDocument = () => {
      tries += 1;
      return Promise.resolve({ kind: "conflict", current: undefined });
    };
    expect(await codeOf(() => records.change("a", () => ({ record: { count: 1 } })))).toBe("STORE_UNAVAILABLE");
    expect(tries).toBe(8);
  });

  test("that cannot be read are not there", async () => {
    const { documents, records } = bench();
    for (const [id, value] of [
      ["a", "{"],
      ["b", '{"count":"1"}'],
      ["c", '{"count":1}'],
    ] as const) {
      await documents.writeDocument({ tenant: "default", kind: "thing", id, expect: 0, value, expiresAtMs: undefined });
    }
    expect([await records.get("a"), await records.get("b")]).toStrictEqual([undefined, undefined]);
    expect((await records.list({ limit: 10 })).map(({ id }) => id)).toStrictEqual(["c"]);
    expect(await records.list({ after: "c", limit: 10 })).toStrictEqual([]);
  });
});

describe("the installation", () => {
  test("is made by the first and found by the others", async () => {
    const { documents, ports } = testParts();
    const first = await openInstallation(documents, ports, "default");
    expect(await openInstallation(documents, ports, "default")).toStrictEqual(first);
    expect(first.nonceKey).toMatch(/^[0-9a-f]{64}$/);
    expect(documents.of("installation")).toMatchObject([{ id: "main", expiresAtMs: undefined }]);
  });

  test("is not made anew over one that cannot be read", async () => {
    const { documents, ports } = testParts();
    await documents.writeDocument({ tenant: "default", kind: "installation", id: "main", expect: 0, value: "{}", expiresAtMs: undefined });
    expect(await codeOf(() => openInstallation(documents, ports, "default"))).toBe("STORE_CORRUPT");
  });
});
