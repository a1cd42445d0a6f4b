import { expect, test } from "bun:test";
import { answerText, boundedLines, boundedText } from "./bounded.ts";

function stream(...pieces: readonly string[]): { readonly body: ReadableStream<Uint8Array>; readonly wasCancelled: () => boolean } {
  let at = 0;
  let cancelled = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = pieces[at];
      at += 1;
      if (piece === undefined) controller.close();
      else controller.enqueue(new TextEncoder().encode(piece));
    },
    cancel() {
      cancelled = true;
    },
  });
  return { body, wasCancelled: () => cancelled };
}

async function linesOf(body: ReadableStream<Uint8Array>, maxBytes?: number): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of boundedLines(body, maxBytes)) lines.push(line);
  return lines;
}

test("an answer is read up to its bound, and given up beyond", async () => {
  expect(await boundedText(null)).toBe("");
  expect(await boundedText(stream("ab", "cä").body, 5)).toBe("abcä");
  const endless = stream("ab", "cde", "f");
  await expect(boundedText(endless.body, 4)).rejects.toThrow("larger than 4 bytes");
  expect(endless.wasCancelled()).toBe(true);
});

test("an answer that says how long it is keeps to the same bound", async () => {
  const answer = (text: string, headers: Record<string, string>): Response => new Response(stream(text).body, { headers });
  expect(await answerText(answer("abcä", { "content-length": "5" }), 5)).toBe("abcä");
  expect(await answerText(answer("abc", {}), 3)).toBe("abc");
  await expect(answerText(answer("abcd", { "content-length": "4" }), 3)).rejects.toThrow("larger than 3 bytes");
  await expect(answerText(answer("abcd", { "content-length": "2", "content-encoding": "gzip" }), 3)).rejects.toThrow("larger than 3 bytes");
});

test("lines come whole however they were cut, and a line without end is given up", async () => {
  expect(await linesOf(stream("a\n\nb", "c", "d\ne", "\n", "rest").body)).toEqual(["a", "bcd", "e"]);
  expect(await linesOf(stream("abc\nabc\n", "abc", "\nabc\n").body, 3)).toEqual(["abc", "abc", "abc", "abc"]);
  await expect(linesOf(stream("a\nab", "cd", "e\n").body, 3)).rejects.toThrow("larger than 3 bytes");
});
