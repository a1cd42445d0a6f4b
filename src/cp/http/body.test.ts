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

function inPieces(pieces: number, bytes: number): Request {
  let sent = 0;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent === pieces) controller.close();
      else controller.enqueue(new Uint8Array(bytes).fill(0x30 + (sent % 10)));
      sent += 1;
    },
  });
  return new Request("http://localhost/events", { method: "POST", body });
}

test("small pieces are put together in their order, among large ones too", async () => {
  const text = await withBody(inPieces(4_000, 20), 1_000_000, new BodyBudget(1_000_000), (body) => {
    if (typeof body === "string" || body instanceof Uint8Array) throw new Error("not in chunks");
    expect(body.length).toBeLessThan(4);
    return Promise.resolve(Buffer.concat(body).toString());
  });
  expect(text).toBe(Array.from({ length: 4_000 }, (_, at) => String(at % 10).repeat(20)).join(""));
});

test("a body in very many very small pieces is refused, whatever it holds", async () => {
  const read = (pieces: number, bytes: number): Promise<number> =>
    withBody(inPieces(pieces, bytes), 10_000_000, new BodyBudget(10_000_000), (body) => Promise.resolve(lengthOf(body)));
  expect(await read(4_096, 1)).toBe(4_096);
  await expect(read(4_097, 1)).rejects.toThrow("too many small pieces");
  await expect(read(20_000, 255)).rejects.toThrow("too many small pieces");
  expect(await read(20_000, 256)).toBe(5_120_000);
});
