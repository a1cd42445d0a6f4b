import { expect, test } from "bun:test";
import { missingNames, sameName } from "./server-names.ts";

test("names are compared in lower case, and addresses as what they mean", () => {
  expect(sameName("CP.Example.com")).toBe("cp.example.com");
  expect(sameName("192.0.2.1")).toBe("192.0.2.1");
  expect(sameName("2001:0db8:0000:0000:0000:0000:0000:0001")).toBe(sameName("2001:DB8::1"));
  expect(sameName("2001:db8::2")).not.toBe(sameName("2001:db8::1"));
});

test.each([
  [["a.example.com", "192.0.2.1"], ["A.example.com", "192.0.2.1"], []],
  [["a.example.com"], ["b.example.com", "a.example.com", "192.0.2.1"], ["b.example.com", "192.0.2.1"]],
  [["0000:0000:0000:0000:0000:0000:0000:0001"], ["::1"], []],
  [["*.example.com"], ["a.example.com", "*.example.com", "a.b.example.com", "example.com"], ["a.b.example.com", "example.com"]],
  // A wildcard that is wanted is not had by one name of it, and none stands for an address.
  [["a.example.com"], ["*.example.com"], ["*.example.com"]],
  [["*.0.2.1"], ["192.0.2.1"], ["192.0.2.1"]],
  [["*"], ["localhost"], ["localhost"]],
  [["*.*.example.com"], ["*.a.example.com"], ["*.a.example.com"]],
])("a certificate of %j lacks, of %j, %j", (certified, wanted, missing) => {
  expect(missingNames(certified, wanted)).toEqual(missing);
});
