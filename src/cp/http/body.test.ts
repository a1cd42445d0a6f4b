import { expect, test } from "bun:test";
import { BodyBudget, withBody } from "./body.ts";

function request(bytes: number, announced: boolean): Request {
  const body = "x".repeat(bytes);
  if (!announced) return new Request("http://localhost/events", { method: "POST", body: new Blob([body]).stream() });
  return new Request("http://localhost/events", { method: "POST", body, headers: { "content-length": String(bytes) } });
}

test.each([true, false])("a body counts until what was made of it is done (announced: %p)", async (announced) => {
  const budget = new BodyBudget(1_000_000);
  const storing = Promise.withResolvers<number>();
  const begun = Promise.withResolvers<void>();
  const first = withBody(request(800_000, announced), 1_000_000, budget, async (bytes) => {
    begun.resolve();
    await storing.promise;
    return bytes.byteLength;
  });
  await begun.promise;
  const second = (): Promise<number> =>
    withBody(request(800_000, announced), 1_000_000, budget, (bytes) => Promise.resolve(bytes.byteLength));
  await expect(second()).rejects.toThrow("too many large bodies");
  storing.resolve(0);
  expect(await first).toBe(800_000);
  expect(await second()).toBe(800_000);
  const failing = withBody(request(800_000, announced), 1_000_000, budget, () => Promise.reject(new Error("refused")));
  await expect(failing).rejects.toThrow("refused");
  expect(await second()).toBe(800_000);
});
