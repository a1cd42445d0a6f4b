import { describe, expect, test } from "bun:test";
import { describeRef, type ObjectRef, refKey, splitApiVersion, stringifyObject } from "./mod.ts";

function ref(over: Partial<ObjectRef>): ObjectRef {
  return { group: "apps", version: "v1", kind: "Deployment", namespace: undefined, name: "nginx", ...over };
}

describe("references", () => {
  test("key: without the version, and an absent namespace is the default one", () => {
    expect(refKey(ref({}))).toBe("apps/Deployment/default/nginx");
    expect(refKey(ref({ version: "v2" }))).toBe(refKey(ref({ namespace: "default" })));
    expect(refKey(ref({}), "team")).toBe(refKey(ref({ namespace: "team" })));
    expect(refKey(ref({ group: "", kind: "Namespace", namespace: "x" }))).toBe("/Namespace//nginx");
  });

  test("for people", () => {
    expect(describeRef(ref({ namespace: "transporter-test" }))).toBe("Deployment transporter-test/nginx");
    expect(describeRef(ref({ kind: "Namespace" }))).toBe("Namespace nginx");
  });

  test("apiVersion", () => {
    expect(splitApiVersion("v1")).toEqual({ group: "", version: "v1" });
    expect(splitApiVersion("apps/v1")).toEqual({ group: "apps", version: "v1" });
    for (const bad of ["", "/v1", "apps/", "a/b/c"]) expect(splitApiVersion(bad)).toBeUndefined();
  });
});

describe("stringifyObject", () => {
  test("writes bigints as plain integers, anywhere, and everything else as JSON does", () => {
    expect(stringifyObject({ a: [1n, { b: -9223372036854775808n }], c: "1", d: null, e: 1.5 })).toBe(
      '{"a":[1,{"b":-9223372036854775808}],"c":"1","d":null,"e":1.5}',
    );
  });

  test("a cycle is an error, not silence", () => {
    const cycle: Record<string, unknown> = { n: 1n };
    cycle["self"] = cycle;
    expect(() => stringifyObject(cycle)).toThrow();
  });
});
