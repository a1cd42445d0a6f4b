import { describe, expect, test } from "bun:test";
import { checkCloudAttributes, decodeCloudHeader, isJsonMediaType, LIMITS } from "./mod.ts";

const LEAST = { specversion: "1.0", id: "1", source: "/ci", type: "com.example.deploy" };

describe("the attributes of a CloudEvent", () => {
  test("are taken with all that the specification names, and with extensions", () => {
    const whole = {
      ...LEAST,
      source: "https://ci.example.com/jobs/7?x=%C3%A4#a",
      subject: "shop",
      time: "2018-04-05T17:31:00.123456789+02:00",
      datacontenttype: "application/json; charset=UTF-8",
      dataschema: "urn:example:schema",
      traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    };
    const { specversion: _version, dataschema: _schema, ...meant } = whole;
    expect(checkCloudAttributes({ ...whole, comexampleextension: "value", othervalue: 5, flag: true })).toEqual({ ok: true, value: meant });
  });

  test("that are null are absent", () => {
    expect(checkCloudAttributes({ ...LEAST, subject: null, time: null, dataschema: null, ext: null })).toEqual({
      ok: true,
      value: {
        id: "1",
        source: "/ci",
        type: "com.example.deploy",
        subject: undefined,
        time: undefined,
        datacontenttype: undefined,
        traceparent: undefined,
      },
    });
  });

  const refused: readonly (readonly [string, Record<string, unknown>, string])[] = [
    ["no version", { specversion: undefined }, "specversion is missing"],
    ["an older version", { specversion: "0.3" }, 'specversion is "0.3"; 1.0 is spoken here'],
    ["a version as a number", { specversion: 1 }, "specversion is not a text"],
    ["no id", { id: undefined }, "id is missing"],
    ["an empty id", { id: "" }, "id is empty"],
    ["an id that is a number", { id: 7 }, "id is not a text"],
    ["no source", { source: null }, "source is missing"],
    ["a source with a space", { source: "/a b" }, 'source "/a b" is not a URI reference'],
    ["a source with a broken escape", { source: "/a%2" }, "is not a URI reference"],
    ["no type", { type: undefined }, "type is missing"],
    ["a type that is given out here", { type: "dev.transporter.event.status.v1" }, "which is not taken here"],
    ["a type of a later version", { type: "dev.transporter.event.v2" }, "write dev.transporter.event.v1"],
    ["a time that is none", { time: "yesterday" }, 'time "yesterday" is not an RFC 3339 time'],
    ["a day that does not exist", { time: "2026-02-30T00:00:00Z" }, "is not an RFC 3339 time"],
    ["an empty subject", { subject: "" }, "subject is empty"],
    ["a schema that is no URI", { dataschema: "/relative" }, "dataschema"],
    ["a content type that is none", { datacontenttype: "json" }, "is not a media type"],
    ["a field of the event beside its data", { target_agent: "a" }, '"target_agent" is no name of an attribute'],
    ["a name in upper case", { Subject: "x" }, '"Subject" is no name of an attribute'],
    ["an extension that is an object", { ext: {} }, "ext is an object"],
    ["an extension that is an array", { ext: [] }, "ext is an array"],
    ["a fraction", { ext: 1.5 }, "no whole number of 32 bits"],
    ["a number beyond 32 bits", { ext: 2 ** 31 }, "no whole number of 32 bits"],
    ["a control character", { subject: "a\u0007" }, "characters that no attribute may have"],
    ["a lone surrogate", { subject: "a\ud800" }, "characters that no attribute may have"],
    ["what is far too long", { id: "x".repeat(LIMITS.cloudAttributeChars + 1) }, "at most 4096 are allowed"],
  ];
  for (const [name, parts, why] of refused) {
    test(`are refused with ${name}`, () => {
      const checked = checkCloudAttributes({ ...LEAST, ...parts });
      expect(checked).toMatchObject({ ok: false, code: "INVALID_CLOUDEVENT", message: expect.stringContaining(why) });
      expect(checked.ok ? "" : checked.pointer).toBe(`/${Object.keys(parts)[0]}`);
    });
  }

  test("never say more of what was sent than helps", () => {
    const checked = checkCloudAttributes({ ...LEAST, [`A${"x".repeat(10_000)}`]: 1 });
    expect(checked.ok ? "" : checked.message.length).toBeLessThan(400);
  });
});

test("a header is unquoted, then percent-decoded once", () => {
  for (const [header, value] of [
    ["Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"],
    ["%e2%82%ac", "€"],
    ["/jobs/%2541", "/jobs/%41"],
    ["plain", "plain"],
    ["%61", "a"],
    ['"two words"', "two words"],
    ['"a \\"quoted\\" word and a \\\\"', 'a "quoted" word and a \\'],
    ['"%22"', '"'],
    ['half"', 'half"'],
  ] as const)
    expect([header, decodeCloudHeader(header)]).toEqual([header, value]);
  // Overlong, cut off, no escape at all, and bytes beyond ASCII.
  for (const header of ["%C0%A0", "%E2%82", "50%", "%zz", "€"]) expect([header, decodeCloudHeader(header)]).toEqual([header, undefined]);
});

test("JSON is known by its media type", () => {
  for (const type of ["application/json", "APPLICATION/JSON; charset=utf-8", 'application/vnd.x+json;charset="UTF-8"', "text/json"])
    expect([type, isJsonMediaType(type)]).toEqual([type, true]);
  for (const type of ["text/plain", "application/jsonx", "application/xml", "application/json; charset=utf-16", ""])
    expect([type, isJsonMediaType(type)]).toEqual([type, false]);
});
