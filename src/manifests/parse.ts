import { TransporterError } from "../kit/mod.ts";
import type { ParsedObject } from "./object.ts";

/** Bounds of one document, against alias bombs and stack exhaustion; aliases count as what they expand to. */
export interface ManifestLimits {
  readonly depth: number;
  readonly nodes: number;
}

export const DEFAULT_MANIFEST_LIMITS: ManifestLimits = { depth: 100, nodes: 1_000_000 };

/**
 * Every object of every document of every manifest, checked in shape, in the order of the event. Throws INVALID_MANIFEST (with
 * `manifest`, `document`, `line`, `column` in details), INVALID_OBJECT or DUPLICATE_OBJECT; never a part of the objects.
 */
export function parseManifests(_manifests: readonly string[], _limits: Partial<ManifestLimits> = {}): ParsedObject[] {
  throw new TransporterError("INTERNAL", "manifests cannot be parsed yet");
}
