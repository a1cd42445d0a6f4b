import { expect, test } from "bun:test";
import { agentPrincipal, ANONYMOUS, type Principal } from "../../security/mod.ts";
import type { Page } from "../../stores/mod.ts";
import { onlyAgentOf, visiblePage } from "./visible-page.ts";

/** Numbers in order; a cursor is the last that was told. */
function numbers(count: number) {
  const asked: number[] = [];
  const fetch = (limit: number, cursor: string | undefined): Promise<Page<number>> => {
    asked.push(limit);
    const from = cursor === undefined ? 0 : Number(cursor) + 1;
    const items = Array.from({ length: Math.max(0, Math.min(limit, count - from)) }, (_one, at) => from + at);
    const last = items.at(-1);
    return Promise.resolve({ items, nextCursor: last === undefined || last === count - 1 ? undefined : String(last) });
  };
  return { fetch, asked };
}

async function all(count: number, limit: number, sees: (item: number) => boolean) {
  const { fetch, asked } = numbers(count);
  const pages: number[][] = [];
  let cursor: string | undefined;
  do {
    const page = await visiblePage({ limit, cursor, fetch, sees });
    pages.push([...page.items]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return { pages, asked };
}

test.each([1, 2, 3, 7, 50])("pages of %p skip nothing that is seen and tell nothing twice", async (limit) => {
  const { pages } = await all(100, limit, (item) => item % 7 === 0 || item === 99);
  expect(pages.flat()).toEqual([0, 7, 14, 21, 28, 35, 42, 49, 56, 63, 70, 77, 84, 91, 98, 99]);
  expect(pages.every((page) => page.length <= limit)).toBe(true);
});

test("whoever sees hardly anything of very much has it looked through in bounded parts", async () => {
  const { pages, asked } = await all(10_000, 50, (item) => item === 9_999);
  expect(pages.flat()).toEqual([9_999]);
  expect(pages.length).toBe(5);
  expect(asked.length).toBe(200);
});

test("one at a time is bounded as well", async () => {
  const { pages } = await all(1_000, 1, () => false);
  expect(pages.length).toBe(5);
});

test("the store is asked for one agent where there is only one to be seen", () => {
  const of = (agents: string[]): Principal => ({ ...ANONYMOUS, kind: "user", scope: { agents } });
  expect(onlyAgentOf(ANONYMOUS)).toBeUndefined();
  expect(onlyAgentOf(of(["a"]))).toBe("a");
  expect(onlyAgentOf(of(["a", "b"]))).toBeUndefined();
  expect(onlyAgentOf(of(["a*"]))).toBeUndefined();
  expect(onlyAgentOf(agentPrincipal("a*"))).toBe("a*");
});
