import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SseParser } from "./sse.ts";

const all = (text: string): unknown => new SseParser().push(text);

describe("a stream of server-sent events", () => {
  test("gives type, data and id; comments, retry and unknown fields are skipped", () => {
    expect(all(': hello\nid: 7\nevent: status\ndata: {"a":1}\nretry: 5\nwhat: ever\n\n')).toEqual([
      { event: "status", data: '{"a":1}', id: "7" },
    ]);
  });
  test("joins several data lines, takes one blank after the colon, defaults the type", () => {
    expect(all("data: a\ndata:  b\ndata\n\n")).toEqual([{ event: "message", data: "a\n b\n", id: "" }]);
  });
  test("keeps the id for later messages, and gives nothing for a message without data", () => {
    expect(all("id: 1\n\nevent: x\n\ndata: y\n\n")).toEqual([{ event: "message", data: "y", id: "1" }]);
  });
  test("an unfinished message is not given", () => {
    expect(all("data: half\n")).toEqual([]);
  });
  test("a byte order mark at the very beginning is no part of it", () => {
    expect(all("\uFEFFdata: x\n\n")).toEqual([{ event: "message", data: "x", id: "" }]);
  });

  test("comes out the same however it was cut, and whatever ends its lines", () => {
    const stream = ': c\nid: 1\nevent: status\ndata: {"m":"über"}\n\ndata: b\ndata: c\nid: 2\n\nevent: end\ndata: {}\n\n';
    const whole = all(stream);
    fc.assert(
      fc.property(fc.constantFrom("\n", "\r\n", "\r"), fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }), (end, cuts) => {
        const text = stream.replaceAll("\n", end);
        const parser = new SseParser();
        const out: unknown[] = [];
        let at = 0;
        for (let turn = 0; at < text.length; turn++) {
          const size = cuts[turn % cuts.length] ?? 1;
          out.push(...parser.push(text.slice(at, at + size)));
          at += size;
        }
        // A lone CR at the end could still become CRLF, so what follows settles it.
        out.push(...parser.push(":\n"));
        expect(out).toEqual(whole as unknown[]);
      }),
    );
  });

  test("a message without end is refused before it fills the memory", () => {
    const parser = new SseParser();
    const line = `data: ${"x".repeat(1024 * 1024)}\n`;
    expect(() => {
      for (let count = 0; count < 100; count++) parser.push(line);
    }).toThrow(RangeError);
  });
});
