import { describe, expect, test } from "bun:test";
import type { Document, DocumentChange, DocumentKey, DocumentOutcome, DocumentWrite } from "../../src/stores/mod.ts";
import { anAudit, codeOf, T0, TENANT } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

function aDocument(id: string, parts: Partial<DocumentWrite> = {}): DocumentWrite {
  return { tenant: TENANT, kind: "token", id, expect: 0, value: `of ${id}`, expiresAtMs: undefined, ...parts };
}

function keyOf({ tenant, kind, id }: DocumentKey): DocumentKey {
  return { tenant, kind, id };
}

export function documentContract(subject: Subject): void {
  const write = (id: string, parts: Partial<DocumentWrite> = {}): Promise<DocumentOutcome> =>
    subject.store.writeDocument(aDocument(id, parts));
  const get = (id: string, parts: Partial<DocumentKey> = {}): Promise<Document | undefined> =>
    subject.store.getDocument({ tenant: TENANT, kind: "token", id, ...parts });
  const listed = async (after: string | undefined, limit: number, kind = "token"): Promise<string[]> => {
    const query = { tenant: TENANT, kind, limit, ...(after === undefined ? {} : { after }) };
    return (await subject.store.listDocuments(query)).map(({ id }) => id);
  };
  const sweep = async (nowMs: number | undefined, limit = 100): Promise<number> =>
    (await subject.store.sweep({ finishedBeforeMs: 0, auditBeforeMs: 0, limit, ...(nowMs === undefined ? {} : { nowMs }) })).documents;

  describe("documents", () => {
    test("one is made, read and written again, each time with the version that it has", async () => {
      expect(await get("a")).toBeUndefined();
      expect(await subject.store.lastDocumentSeq()).toBe(0);
      expect(await write("a", { value: '{"x":1}' })).toEqual({ kind: "written", version: 1, seq: 1 });
      expect(await get("a")).toEqual({ ...keyOf(aDocument("a")), version: 1, seq: 1, value: '{"x":1}', expiresAtMs: undefined });
      expect(await write("a", { expect: 1, value: "two", expiresAtMs: T0 })).toEqual({ kind: "written", version: 2, seq: 2 });
      expect(await write("a", { expect: 2, value: "", expiresAtMs: T0 + 0.5 })).toEqual({ kind: "written", version: 3, seq: 3 });
      const store = await subject.reopenIfDurable();
      expect(await get("a")).toEqual({ ...keyOf(aDocument("a")), version: 3, seq: 3, value: "", expiresAtMs: T0 + 0.5 });
      expect(await store.lastDocumentSeq()).toBe(3);
      // Numbers go on where they ended, over a restart too.
      expect(await write("b")).toEqual({ kind: "written", version: 1, seq: 4 });
    });

    test("one that is otherwise by now is left as it is, and is answered", async () => {
      expect(await write("a", { expect: 1 })).toEqual({ kind: "conflict", current: undefined });
      expect(await get("a")).toBeUndefined();
      await write("a", { value: "first \u0001 ünï\ncode 'quotes' \ud83d\ude00", expiresAtMs: T0 });
      const current = await get("a");
      expect(current?.value).toBe("first \u0001 ünï\ncode 'quotes' \ud83d\ude00");
      for (const expected of [0, 2, -1])
        expect(await write("a", { expect: expected, value: "other" })).toEqual({ kind: "conflict", current });
      expect(await get("a")).toEqual(current);
      expect(await subject.store.lastDocumentSeq()).toBe(1);
    });

    test("of those who write one at once, one does", async () => {
      const first = await Promise.all(Array.from({ length: 20 }, (_, at) => write("a", { value: `by ${at}` })));
      expect(first.filter(({ kind }) => kind === "written")).toHaveLength(1);
      const value = (await get("a"))?.value;
      for (const outcome of first) if (outcome.kind === "conflict") expect(outcome.current).toMatchObject({ version: 1, value });
      const again = await Promise.all(Array.from({ length: 20 }, (_, at) => write("a", { expect: 1, value: `again by ${at}` })));
      expect(again.filter(({ kind }) => kind === "written")).toHaveLength(1);
      expect(await get("a")).toMatchObject({ version: 2, seq: 2 });
    });

    test("tenants, kinds and ids do not run into each other", async () => {
      const keys = [
        { tenant: TENANT, kind: "token", id: "a:b" },
        { tenant: TENANT, kind: "token:a", id: "b" },
        { tenant: TENANT, kind: "identity", id: "a:b" },
        { tenant: "ténant:2", kind: "token", id: "a:b" },
        { tenant: "ténant", kind: "2:5:token", id: "a:b" },
      ];
      for (const [at, key] of keys.entries())
        expect(await subject.store.writeDocument(aDocument("", { ...key, value: String(at) }))).toMatchObject({
          kind: "written",
          version: 1,
        });
      for (const [at, key] of keys.entries()) {
        expect(await subject.store.getDocument(key)).toMatchObject({ ...key, value: String(at), version: 1 });
        expect(await subject.store.listDocuments({ tenant: key.tenant, kind: key.kind, limit: 9 })).toMatchObject([
          { ...key, value: String(at) },
        ]);
      }
      expect((await subject.store.documentsAfter(0, 9)).map(keyOf)).toEqual(keys);
    });

    test("a listing goes by id, in pages of any size", async () => {
      const ids = ["B", "a", "a ", "a/b", "ab", "b", "z~", "é", "\uffee", "\u{1f600}"];
      for (const id of ids.toReversed()) await write(id);
      await write("other", { kind: "identity" });
      expect(await listed(undefined, 100)).toEqual(ids);
      for (const limit of [1, 3, 9, 10]) {
        const found: string[] = [];
        for (let page = await listed(undefined, limit); page.length > 0; page = await listed(found.at(-1), limit)) {
          expect(page.length).toBeLessThanOrEqual(limit);
          found.push(...page);
        }
        expect(found).toEqual(ids);
      }
      // Nobody need have the id that a page begins after.
      expect(await listed("aa", 2)).toEqual(["ab", "b"]);
      expect(await listed(undefined, 0)).toEqual([]);
      expect(await listed(undefined, 9, "toke")).toEqual([]);
    });

    test("more than goes in one step is listed and told whole", async () => {
      const ids = Array.from({ length: 700 }, (_, at) => `id-${String(at).padStart(4, "0")}`);
      await Promise.all(ids.map((id) => write(id)));
      expect(await listed(undefined, 1000)).toEqual(ids);
      expect(await listed("id-0099", 150)).toEqual(ids.slice(100, 250));
      const changes = await subject.store.documentsAfter(0, 1000);
      expect(changes.map(({ id }) => id).toSorted()).toEqual(ids);
      expect(await subject.store.documentsAfter(0, 600)).toEqual(changes.slice(0, 600));
    });

    test("what was written after a number comes in the order of the last writes, each once", async () => {
      const change = (id: string, seq: number): DocumentChange => ({ ...keyOf(aDocument(id)), seq });
      for (const id of ["a", "b", "c"]) await write(id);
      await write("a", { expect: 1 });
      await write("c", { expect: 9 });
      const store = await subject.reopenIfDurable();
      expect(await store.documentsAfter(0, 10)).toEqual([change("b", 2), change("c", 3), change("a", 4)]);
      expect(await store.documentsAfter(0, 2)).toEqual([change("b", 2), change("c", 3)]);
      expect(await store.documentsAfter(3, 2)).toEqual([change("a", 4)]);
      expect(await store.documentsAfter(4, 10)).toEqual([]);
      expect(await store.documentsAfter(0, 0)).toEqual([]);
      expect(await store.lastDocumentSeq()).toBe(4);
    });

    test("the audit is written with it, and only with it", async () => {
      const audit = (action: string) => anAudit({ action, details: { of: action } });
      await write("a", { audit: audit("made") });
      await write("a", { audit: audit("made again") });
      await write("a", { expect: 1, audit: audit("changed") });
      await write("a", { expect: 2 });
      const store = await subject.reopenIfDurable();
      const { items } = await store.listAudit({ tenant: TENANT, limit: 10 });
      expect(items.map(({ action, details }) => [action, details])).toEqual([
        ["changed", { of: "changed" }],
        ["made", { of: "made" }],
      ]);
    });

    test("what has expired is answered as ever until it is swept, and is made anew after that", async () => {
      await write("stays");
      await write("later", { expiresAtMs: T0 + 1000 });
      await write("soon", { expiresAtMs: T0 });
      await write("kept", { expiresAtMs: T0 });
      await write("kept", { expect: 1 });
      await write("put off", { expiresAtMs: T0 });
      await write("put off", { expect: 1, expiresAtMs: T0 + 2000 });
      expect(await sweep(undefined)).toBe(0);
      expect(await sweep(T0)).toBe(0);
      expect(await get("soon")).toMatchObject({ version: 1, expiresAtMs: T0 });
      expect(await sweep(T0 + 1)).toBe(1);
      expect(await get("soon")).toBeUndefined();
      expect(await listed(undefined, 9)).toEqual(["kept", "later", "put off", "stays"]);
      expect((await subject.store.documentsAfter(0, 9)).map(({ id }) => id)).toEqual(["stays", "later", "kept", "put off"]);
      expect(await write("soon", { expect: 1 })).toEqual({ kind: "conflict", current: undefined });
      expect(await write("soon", { expiresAtMs: T0 + 3000 })).toEqual({ kind: "written", version: 1, seq: 8 });
      expect(await sweep(T0 + 2001)).toBe(2);
      expect(await sweep(T0 * 2)).toBe(1);
      expect(await listed(undefined, 9)).toEqual(["kept", "stays"]);
      const store = await subject.reopenIfDurable();
      expect(await store.lastDocumentSeq()).toBe(8);
    });

    test("a sweep takes no more than it was told", async () => {
      await Promise.all(Array.from({ length: 600 }, (_, at) => write(`id-${at}`, { expiresAtMs: T0 + at })));
      expect(await sweep(T0 + 600, 50)).toBe(50);
      expect(await sweep(T0 + 600, 540)).toBe(540);
      expect(await sweep(T0 + 600, 540)).toBe(10);
      expect(await subject.store.documentsAfter(0, 9)).toEqual([]);
    });

    test("64 KiB are kept, and what is larger or has no fit id is refused with why, and takes nobody else along", async () => {
      const whole = "ü".repeat(32 * 1024);
      expect(await write("i".repeat(300), { value: whole })).toMatchObject({ kind: "written" });
      expect((await get("i".repeat(300)))?.value).toBe(whole);
      const [refused, noId, longId, taken] = await Promise.all([
        codeOf(write("large", { value: `${whole}x` })),
        codeOf(write("")),
        codeOf(write("i".repeat(301))),
        write("fits"),
      ]);
      expect([refused, noId, longId]).toEqual(["INVALID_REQUEST", "INVALID_REQUEST", "INVALID_REQUEST"]);
      expect(taken).toMatchObject({ kind: "written" });
      await expect(write("large", { value: `${whole}x` })).rejects.toThrow("65537 bytes; at most 65536");
      expect(await get("large")).toBeUndefined();
    });
  });
}
