import { describe, expect, test } from "bun:test";
import { LastUse } from "./last-use.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { testParts } from "./parts-for-tests.ts";

const START_MS = Date.parse("2026-01-01T00:00:00Z");

describe("the last use of a token", () => {
  test("is told to the minute, and written once a minute", async () => {
    const parts = testParts();
    const lastUse = new LastUse(parts);
    lastUse.start();
    await parts.manual.advance(59_000);
    lastUse.note("a", START_MS + 1);
    expect(parts.documents.of("token-use")).toStrictEqual([]);
    expect(await lastUse.of(["a", "b"])).toStrictEqual(new Map([["a", START_MS]]));
    await parts.manual.advance(1_000);
    expect(parts.documents.of("token-use")).toStrictEqual([
      { id: "a", value: { atMs: START_MS, sweptAtMs: START_MS + 1 }, expiresAtMs: START_MS + 1 },
    ]);
    lastUse.note("a", START_MS + 1);
    await lastUse.stop();
    expect(await lastUse.of(["a"])).toStrictEqual(new Map([["a", START_MS + 60_000]]));
    expect(parts.manual.pending).toBe(0);
  });

  test("is the latest of all control planes", async () => {
    const documents = memoryDocuments();
    const [one, other] = [testParts(documents), testParts(documents)];
    await other.manual.advance(120_000);
    const [first, second] = [new LastUse(one), new LastUse(other)];
    second.note("a", undefined);
    await second.flush();
    first.note("a", undefined);
    await first.flush();
    expect(documents.of("token-use")).toStrictEqual([{ id: "a", value: { atMs: START_MS + 120_000 }, expiresAtMs: undefined }]);
  });

  test("is not written again within its minute", async () => {
    const parts = testParts();
    const lastUse = new LastUse(parts);
    lastUse.note("a", undefined);
    await lastUse.flush();
    const seq = await parts.documents.lastDocumentSeq();
    lastUse.note("a", undefined);
    await lastUse.flush();
    expect(await parts.documents.lastDocumentSeq()).toBe(seq);
  });

  test("is written later where the store is away", async () => {
    const parts = testParts();
    const lastUse = new LastUse(parts);
    lastUse.note("a", undefined);
    parts.documents.failure = new Error("gone");
    await lastUse.flush();
    parts.documents.failure = undefined;
    await parts.manual.advance(60_000);
    await lastUse.flush();
    expect(parts.documents.of("token-use")).toMatchObject([{ value: { atMs: START_MS } }]);
  });

  test("that could not be written does not go over what came meanwhile", async () => {
    const parts = testParts();
    const lastUse = new LastUse(parts);
    const write = parts.documents.writeDocument.bind(parts.documents);
    const away = Promise.withResolvers<never>();
    parts.documents.writeDocument = () => away.promise;
    lastUse.note("a", undefined);
    const flushing = lastUse.flush();
    await parts.manual.advance(60_000);
    lastUse.note("a", undefined);
    away.reject(new Error("gone"));
    await flushing;
    parts.documents.writeDocument = write;
    await lastUse.flush();
    expect(parts.documents.of("token-use")).toMatchObject([{ value: { atMs: START_MS + 60_000 } }]);
  });
});
