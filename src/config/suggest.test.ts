import { expect, test } from "bun:test";
import { didYouMean, suggest } from "./suggest.ts";

test("slips of the hand are recognised, other words are not", () => {
  const names = ["ws-addr", "ws-port", "store", "insecure"];
  expect(suggest("ws-prot", names)).toBe("ws-port");
  expect(suggest("WS-ADDR", names)).toBe("ws-addr");
  expect(suggest("insec", names)).toBe("insecure");
  expect(suggest("stroe", names)).toBe("store");
  expect(suggest("zebra-crossing", names)).toBeUndefined();
  expect(suggest("", names)).toBeUndefined();
  expect(suggest("x".repeat(100_000), names)).toBeUndefined();
  expect(didYouMean("stor", names, "--")).toBe(" Did you mean --store?");
  expect(didYouMean("qqq", names)).toBe("");
});
