import { describe, expect, test } from "bun:test";
import { idOfCloudEvent, unwrapCloudEvent } from "./cloud-envelope.ts";
import { prepareEvent } from "./prepare.ts";

const ATTRIBUTES = { specversion: "1.0", id: "7", source: "/ci", type: "dev.transporter.event.v1" };
const DATA = { type: "k8s_resource", target_agent: "a", payload: { manifests: ["kind: x"] } };
const ID = idOfCloudEvent("default", ATTRIBUTES);

function structured(input: unknown, orPlain = false) {
  return unwrapCloudEvent(input, { kind: "structured", tenant: "default", orPlain });
}

describe("a CloudEvent unwrapped", () => {
  test("is its data, with the attributes where that says nothing", () => {
    const time = "2026-01-01T00:00:00Z";
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const cloudevent = { id: "7", source: "/ci", type: ATTRIBUTES.type, subject: "shop" };
    const event = { ...DATA, id: ID, created_at: time, created_by: "/ci", traceparent, cloudevent };
    const attributes = { ...ATTRIBUTES, subject: "shop", time, traceparent };
    expect(structured({ ...attributes, data: DATA })).toEqual({ ok: true, value: { event, at: "/data", isCloudEvent: true } });
    const base64 = Buffer.from(JSON.stringify(DATA)).toString("base64");
    expect(structured({ ...attributes, data_base64: base64 })).toEqual({ ok: true, value: { event, at: "/data", isCloudEvent: true } });
    expect(unwrapCloudEvent(DATA, { kind: "binary", tenant: "default", attributes })).toEqual({
      ok: true,
      value: { event, at: "", isCloudEvent: true },
    });
  });

  test("says itself when it was made, by whom, and in which trace", () => {
    const data = { ...DATA, id: "7", created_at: "2025-01-01T00:00:00Z", created_by: "jane", traceparent: "mine" };
    const seen = structured({ ...ATTRIBUTES, time: "2026-01-01T00:00:00Z", traceparent: "other", data });
    expect(seen.ok ? seen.value.event : seen).toMatchObject({ ...data, id: ID });
  });

  test("is told from others by source and id alone, and tenants never meet", () => {
    const ids = [
      idOfCloudEvent("default", { source: "/ci", id: "7" }),
      idOfCloudEvent("default", { source: "/ci", id: "8" }),
      idOfCloudEvent("default", { source: "/c", id: "i7" }),
      idOfCloudEvent("other", { source: "/ci", id: "7" }),
    ];
    expect(new Set(ids).size).toBe(4);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  const refused: readonly (readonly [string, unknown, string, string | undefined])[] = [
    ["an array", [], "not an array", undefined],
    ["null", null, "not null", undefined],
    ["a text", "x", "not a string", undefined],
    ["no data", ATTRIBUTES, "has no data", "/data"],
    ["data that is a text", { ...ATTRIBUTES, data: JSON.stringify(DATA) }, "data is a string", "/data"],
    ["data that is null", { ...ATTRIBUTES, data: null }, "data is null", "/data"],
    ["data in two places", { ...ATTRIBUTES, data: DATA, data_base64: "e30=" }, "both data and data_base64", "/data_base64"],
    ["Base64 that is none", { ...ATTRIBUTES, data_base64: "e3 0=" }, "not Base64", "/data_base64"],
    ["Base64 of what is no JSON", { ...ATTRIBUTES, data_base64: "aGVsbG8=" }, "not JSON", "/data_base64"],
    ["Base64 of what is no UTF-8", { ...ATTRIBUTES, data_base64: "/w==" }, "not JSON", "/data_base64"],
    ["data that is XML", { ...ATTRIBUTES, datacontenttype: "application/xml", data: "<x/>" }, "has to be JSON", "/datacontenttype"],
    ["an id of its own", { ...ATTRIBUTES, data: { ...DATA, id: "mine" } }, 'an id of its own ("mine")', "/data/id"],
  ];
  for (const [name, input, why, pointer] of refused) {
    test(`is refused with ${name}`, () => {
      const seen = structured(input);
      expect(seen).toMatchObject({ ok: false, code: "INVALID_CLOUDEVENT", message: expect.stringContaining(why) });
      expect(seen.ok ? "" : seen.pointer).toBe(pointer);
    });
  }
});

test("what is an event of 0.1 is one whatever its content type says, and what only looks like it is not", () => {
  const event = { ...DATA, id: "mine" };
  expect(structured(event, true)).toEqual({ ok: true, value: { event, at: "", isCloudEvent: false } });
  expect(structured(event)).toMatchObject({ ok: false, code: "INVALID_CLOUDEVENT" });
  expect(structured({ ...event, specversion: "1.0" }, true)).toMatchObject({ ok: false, code: "INVALID_CLOUDEVENT" });
  const { specversion: _version, ...without } = ATTRIBUTES;
  expect(structured({ ...without, data: DATA }, true)).toMatchObject({ message: expect.stringContaining("specversion is missing") });
});

test("what is wrong with the event is told by its place in the body", () => {
  const rule = { id: undefined, only: false, envelope: { kind: "structured", tenant: "default", orPlain: false } } as const;
  const prepare = (data: unknown) => prepareEvent(JSON.stringify({ ...ATTRIBUTES, data }), rule);
  expect(prepare({ ...DATA, ttl: -1 })).toMatchObject({ ok: false, code: "INVALID_TTL", pointer: "/data/ttl" });
  expect(prepare({ ...DATA, target_agent: "" })).toMatchObject({ ok: false, code: "MISSING_TARGET_AGENT", pointer: "/data/target_agent" });
  // A key that could reach a prototype goes nowhere, also out of data.
  expect(prepareEvent(`{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{"__proto__":{"a":1}}}`, rule)).toMatchObject({
    ok: false,
    code: "INVALID_EVENT",
    pointer: "/data/__proto__",
  });
});
