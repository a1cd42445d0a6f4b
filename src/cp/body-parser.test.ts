import { expect, test } from "bun:test";
import { LIMITS } from "../protocol/mod.ts";
import { BodyParser } from "./body-parser.ts";

const deep = `{"id":"x","payload":${"[".repeat(LIMITS.jsonFreeBytes)}`;
const many = `[${"1,".repeat(LIMITS.eventJson.values)}1]`;

test.each([
  ["deeper than 128", deep],
  ["more than 100000", many],
])("a body is refused before it is parsed where its JSON is %s", async (why, text) => {
  const parser = new BodyParser();
  for (const body of [text, Buffer.from(text), [Buffer.from(text.slice(0, 9)), Buffer.from(text.slice(9))]])
    expect(await parser.prepare(body)).toMatchObject({ ok: false, code: "INVALID_JSON", message: expect.stringContaining(why) as string });
  // A body above the threshold goes to the worker, which counts as well.
  const large = new TextEncoder().encode(`${" ".repeat(300_000)}${text}`);
  expect(await parser.prepare(large)).toMatchObject({ ok: false, code: "INVALID_JSON", message: expect.stringContaining(why) as string });
  parser.stop();
});
