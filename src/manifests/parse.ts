import { TransporterError } from "../kit/mod.ts";
import { readDocuments } from "./documents.ts";
import { describeRef, type ParsedObject, refKey } from "./object.ts";
import { describePlace } from "./place.ts";
import { objectsOf } from "./shape.ts";
import { NotEveryday } from "./yaml-nodes.ts";

/** Bounds against manifests that are small to send and huge to hold. What stands in the manifest itself is bounded by its size. */
export interface ManifestLimits {
  /** How deep mappings and lists may nest. The deepest schemas of real CRDs need about 60. */
  readonly depth: number;
  /** How many tokens one YAML document may have; a mapping of a line each has eight a line. Documents of JSON have no such bound. */
  readonly tokens: number;
  /** How many nodes all aliases of the event may expand to. */
  readonly aliasNodes: number;
  /** How many characters of text all aliases of the event may expand to. */
  readonly aliasChars: number;
}

export const DEFAULT_MANIFEST_LIMITS: ManifestLimits = { depth: 200, tokens: 2_000_000, aliasNodes: 100_000, aliasChars: 8 * 1024 * 1024 };

function refuseDuplicates(parsed: readonly ParsedObject[]): void {
  const seen = new Map<string, ParsedObject>();
  for (const one of parsed) {
    const key = refKey(one.ref);
    const first = seen.get(key);
    if (first !== undefined) {
      const [a, b] = [first.source, one.source];
      throw new TransporterError(
        "DUPLICATE_OBJECT",
        `${describeRef(one.ref)} stands twice: at ${describePlace(a)} and at ${describePlace(b)}`,
        { details: { object: describeRef(one.ref), first: a, second: b } },
      );
    }
    seen.set(key, one);
  }
}

/**
 * Every object of every document of every manifest, checked in shape, in the order of the event. Throws INVALID_MANIFEST (with
 * `manifest`, `document`, `line` and `column` in details), INVALID_OBJECT (with `field`), DUPLICATE_OBJECT, or EMPTY_MANIFESTS when there
 * is not one object; never returns a part of the objects.
 */
export function parseManifests(manifests: readonly string[], limits: Partial<ManifestLimits> = {}): ParsedObject[] {
  return parse(manifests, { ...DEFAULT_MANIFEST_LIMITS, ...limits }, false);
}

/**
 * The same where it is quick, some 10 MiB a second: undefined where a document needs a reader that knows all of YAML, which takes twenty times
 * as long. Throws as `parseManifests`.
 */
export function parseEverydayManifests(manifests: readonly string[]): ParsedObject[] | undefined {
  try {
    return parse(manifests, DEFAULT_MANIFEST_LIMITS, true);
  } catch (error) {
    if (error instanceof NotEveryday) return undefined;
    throw error;
  }
}

function parse(
  manifests: readonly string[],
  { depth, tokens, aliasNodes, aliasChars }: ManifestLimits,
  everydayOnly: boolean,
): ParsedObject[] {
  const limits = { depth, tokens, budget: { nodes: aliasNodes, chars: aliasChars }, everydayOnly };
  const parsed = manifests.flatMap((text, manifest) => readDocuments(text, manifest, limits).flatMap(objectsOf));
  if (parsed.length === 0)
    throw new TransporterError("EMPTY_MANIFESTS", "the manifests hold no object", {
      remedy: "Put at least one object into the manifests; comments and empty Lists are none.",
    });
  refuseDuplicates(parsed);
  return parsed;
}
