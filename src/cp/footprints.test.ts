import { expect, test } from "bun:test";
import { lockSet, parseManifests } from "../manifests/mod.ts";
import { parseFootprint } from "./footprints.ts";
import { footprintOf, TOUCHES_NOTHING } from "./precedence.ts";

const CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  namespace: x\n";
const NAMED = { api_version: "v1", kind: "ConfigMap", namespace: "x", name: "a" };
const touching = (payload: unknown) => parseFootprint(JSON.stringify(payload));

test("an object is the same whether a manifest, a reference or a patch names it", () => {
  const wanted = footprintOf(lockSet(parseManifests([CONFIG])));
  expect(touching({ manifests: [CONFIG] })).toEqual(wanted);
  expect(touching({ operation: "delete", references: [NAMED] })).toEqual(wanted);
  expect(touching({ operation: "patch", patches: [{ ...NAMED, type: "merge", patch: "{}" }] })).toEqual(wanted);
  expect(touching({ operation: "delete", manifests: null, references: [{ ...NAMED, api_version: "v2" }] })).toEqual(wanted);
  // Manifests without an object are none.
  for (const empty of ["", " \n", "---\n", "# nothing\n", "\t", "---\n\r\n---\n"])
    expect([empty, touching({ operation: "delete", manifests: [empty], references: [NAMED] })]).toEqual([empty, wanted]);
});

test("what cannot be read fails at its agent as a whole, and touches nothing", () => {
  for (const payload of [{ manifests: ["a: [\n"], references: [NAMED] }, { manifests: [" "] }, {}, null])
    expect(touching(payload)).toEqual(TOUCHES_NOTHING);
  expect(parseFootprint("{")).toEqual(TOUCHES_NOTHING);
});
