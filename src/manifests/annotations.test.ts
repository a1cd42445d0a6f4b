import { describe, expect, test } from "bun:test";
import { TransporterError } from "../kit/mod.ts";
import { forcesConflicts, ignoredPointers, onImmutableOf, waveOf } from "./annotations.ts";
import type { KubeObject } from "./object.ts";
import { parseManifests } from "./parse.ts";

function withAnnotations(annotations: Readonly<Record<string, unknown>>): string {
  return JSON.stringify({ apiVersion: "v1", kind: "ConfigMap", metadata: { name: "one", annotations } });
}

function read(annotations: Readonly<Record<string, unknown>>): KubeObject {
  const [one] = parseManifests([withAnnotations(annotations)]);
  if (one === undefined) throw new Error("nothing was parsed");
  return one.object;
}

function refused(annotations: Readonly<Record<string, unknown>>): TransporterError {
  try {
    read(annotations);
  } catch (error) {
    if (error instanceof TransporterError) return error;
    throw error;
  }
  throw new Error("it was not refused");
}

describe("what an object says about its own treatment", () => {
  test("is read, blanks around it left out", () => {
    const object = read({
      "transporter.dev/wave": " -3 ",
      "transporter.dev/force-conflicts": "true",
      "transporter.dev/on-immutable": "recreate",
      "transporter.dev/ignore-fields": "/spec/replicas, /metadata/annotations/example.org~1note,",
    });
    expect(waveOf(object)).toBe(-3);
    expect(forcesConflicts(object)).toBe(true);
    expect(onImmutableOf(object)).toBe("recreate");
    expect(ignoredPointers(object)).toEqual(["/spec/replicas", "/metadata/annotations/example.org~1note"]);
  });

  test("says nothing where it is absent, empty or null", () => {
    for (const value of ["", "  ", null])
      for (const object of [read({}), read(Object.fromEntries(ALL.map((name) => [name, value])))]) {
        expect([waveOf(object), forcesConflicts(object), onImmutableOf(object)]).toEqual([0, undefined, undefined]);
        expect(ignoredPointers(object)).toEqual([]);
      }
  });

  test.each([
    ["wave", "first", 'is "first", not a whole number'],
    ["wave", "1.5", 'is "1.5", not a whole number'],
    ["wave", "2147483648", 'is "2147483648", not a whole number'],
    ["force-conflicts", "yes", 'is "yes", neither "true" nor "false"'],
    ["on-immutable", "replace", 'is "replace", neither "recreate" nor "fail"'],
    ["ignore-fields", "spec.replicas", 'has "spec.replicas", which is not a JSON pointer'],
    ["ignore-fields", "/spec/a~2", 'has "/spec/a~2", which is not a JSON pointer'],
    ["ignore-fields", "/spec/replicas,/metadata/name", 'has "/metadata/name", which names which object it is'],
    ["ignore-fields", "/metadata", 'has "/metadata", which names which object it is'],
  ])("transporter.dev/%s: %s is refused before anything is touched", (name, value, words) => {
    const error = refused({ [`transporter.dev/${name}`]: value });
    expect(error.code).toBe("INVALID_OBJECT");
    expect(error.message).toBe(`manifests[0], document 1, line 1: ConfigMap one: the annotation transporter.dev/${name} ${words}`);
    expect(error.details["field"]).toBe(`metadata.annotations["transporter.dev/${name}"]`);
  });
});

const ALL = ["wave", "force-conflicts", "on-immutable", "ignore-fields"].map((name) => `transporter.dev/${name}`);
