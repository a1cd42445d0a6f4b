import { expect, test } from "bun:test";
import { keepSecret, REDACTED } from "../../redaction/mod.ts";
import { cut } from "./parts.ts";

test("what is cut holds no half of a secret, and none in other spaces", () => {
  const forget = keepSecret("walnut  harbour ninety");
  try {
    const head = "x".repeat(10);
    expect(cut(`${head} walnut  harbour ninety`, 20)).toBe(`${head} ${REDACTED.slice(0, 9)}…`);
    expect(cut(`${head} walnut  harbour ninety end`, 100)).toBe(`${head} ${REDACTED} end`);
  } finally {
    forget();
  }
});
