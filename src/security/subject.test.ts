import { describe, expect, test } from "bun:test";
import { alice } from "./client-certificates-for-tests.ts";
import { subjectOf } from "./subject.ts";

describe("a subject", () => {
  test("is read from the bytes, and not at all where it is none", async () => {
    expect(subjectOf(alice.certificate.x509.raw)).toStrictEqual({
      commonNames: ["alice"],
      organisations: ["Example", "transporter:operator"],
    });
    expect(subjectOf(new Uint8Array())).toBeUndefined();
    const { raw } = alice.certificate.x509;
    const at = raw.indexOf("alice");
    // The same letters as a BMPString, which means other letters; and no letters.
    expect(subjectOf(raw.with(at - 2, 0x1e))).toBeUndefined();
    expect(subjectOf(raw.with(at, 0xff))).toBeUndefined();
    expect(subjectOf(raw.with(at, 0x41))?.commonNames).toStrictEqual(["Alice"]);
    expect(subjectOf(alice.certificate.x509.raw.subarray(1))).toBeUndefined();
  });
});
