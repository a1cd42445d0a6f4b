import { expect, test } from "bun:test";
import { stringifyObject } from "../../manifests/mod.ts";
import { readExact } from "./json.ts";

test("integers of 64 bits come out as they came in; texts and other numbers are as JSON has them", () => {
  const text =
    '{"a":9007199254740993,"b":[-9223372036854775808,18446744073709551615],"c":"9007199254740993","d":1.5,"e":null,"__proto__":{"f":1}}';
  expect(stringifyObject(readExact(text))).toBe(text);
  expect(readExact('{"a":123,"b":1e3}')).toEqual({ a: 123, b: 1000 });
  expect(readExact('{"a":1234567890123456}')).toEqual({ a: 1_234_567_890_123_456 });
  expect(readExact("[1e21,0.12345678901234567,1]")).toEqual([1e21, Number("0.12345678901234567"), 1]);
  expect(() => readExact('{"a":1234567890123456789')).toThrow(SyntaxError);
});
