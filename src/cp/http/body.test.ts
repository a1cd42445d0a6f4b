import { expect, test } from "bun:test";
import type { Body } from "../body-parser.ts";
import { BodyBudget, withBody } from "./body.ts";

function lengthOf(body: Body): number {
  if (typeof body === "string" || body instanceof Uint8Array) return body.length;
  return body.reduce((sum, chunk) => sum + chunk.byteLength, 0);
}

function request(bytes: number, announced: boolean): Request {
  const body = "x".repeat(bytes);
  if (!announced) return new Request("http://localhost/events", { method: "POST", body: new Blob([body]).stream() });
  return new Request("http://localhost/events", { method: "POST", body, headers: { "content-length": String(bytes) } });
}

test.each([true, false])("a body counts until what was made of it is done (announced: %p)", async (announced) => {
  const budget = new BodyBudget(1_000_000);
  const storing = Promise.withResolvers<number>();
  const begun = Promise.withResolvers<void>();
  const first = withBody(request(800_000, announced), 1_000_000, budget, async (body) => {
    begun.resolve();
    await storing.promise;
    return lengthOf(body);
  });
  await begun.promise;
  const second = (): Promise<number> => withBody(request(800_000, announced), 1_000_000, budget, (body) => Promise.resolve(lengthOf(body)));
  await expect(second()).rejects.toThrow("too many large bodies");
  storing.resolve(0);
  expect(await first).toBe(800_000);
  expect(await second()).toBe(800_000);
  const failing = withBody(request(800_000, announced), 1_000_000, budget, () => Promise.reject(new Error("refused")));
  await expect(failing).rejects.toThrow("refused");
  expect(await second()).toBe(800_000);
});
