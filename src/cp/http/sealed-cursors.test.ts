import { expect, test } from "bun:test";
import { memoryDocuments } from "../../security/mod.ts";
import type { Store } from "../../stores/mod.ts";
import { SealedCursors } from "./sealed-cursors.ts";

function documents(): Pick<Store, "getDocument" | "writeDocument"> {
  return memoryDocuments();
}

test("a cursor says nothing to whoever holds it, and the same to every control plane of the store", async () => {
  const store = documents();
  const sealed = await new SealedCursors(store).seal("agent-of-somebody-else");
  expect(Buffer.from(sealed, "base64url").toString("latin1")).not.toContain("somebody");
  expect(await new SealedCursors(store).open(sealed)).toBe("agent-of-somebody-else");
});

test("two that begin at the same time agree on one key", async () => {
  const store = documents();
  const [one, other] = [new SealedCursors(store), new SealedCursors(store)];
  const [first, second] = await Promise.all([one.seal("a"), other.seal("b")]);
  expect(await other.open(first)).toBe("a");
  expect(await one.open(second)).toBe("b");
});

test.each(["", "x", "a".repeat(80), "a".repeat(9_000)])("a cursor from elsewhere is none of ours: %p", async (cursor) => {
  await expect(new SealedCursors(documents()).open(cursor)).rejects.toMatchObject({ code: "INVALID_CURSOR" });
});

test("one that was changed is none of ours", async () => {
  const cursors = new SealedCursors(documents());
  const sealed = await cursors.seal("agent-1");
  const changed = `${sealed.slice(0, 20)}${sealed[20] === "A" ? "B" : "A"}${sealed.slice(21)}`;
  await expect(cursors.open(changed)).rejects.toMatchObject({ code: "INVALID_CURSOR" });
});
