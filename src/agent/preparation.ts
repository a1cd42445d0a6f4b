import { toTransporterError, TransporterError } from "../kit/mod.ts";
import { type LockSet, lockSet, namedObjects, type ParsedObject, withNamed } from "../manifests/mod.ts";
import type { Work } from "./delivery.ts";
import type { Ledger, ManifestSource } from "./ledger.ts";
import { OFF_LOOP_CHARS, type Parsing } from "./off-loop.ts";
import { manifestsOf } from "./payload.ts";
import { scriptOf, type ScriptPayload } from "./script.ts";

/** What an event asks for, read. An error is what it is going to fail with. */
export interface Prepared {
  readonly content: readonly ParsedObject[] | ScriptPayload | TransporterError;
  readonly locks: LockSet;
  readonly chars: number;
}

const NO_LOCKS: LockSet = { writes: new Set(), reads: new Set() };
export const NOTHING: Prepared = { content: [], locks: NO_LOCKS, chars: 0 };

export interface PreparationOptions {
  readonly ledger: Ledger;
  readonly parsing: Parsing;
  /** Where objects go that name no namespace. */
  readonly defaultNamespace: string;
  /** Awaited before a text is read that is large enough to end a process with little memory. */
  readonly beforeLarge: () => Promise<void>;
  readonly afterLarge: () => void;
}

/** What is named only by reference comes without a manifest, and that there is none is then no fault. */
async function readObjects(source: ManifestSource, parsing: Parsing): Promise<readonly ParsedObject[]> {
  try {
    return await parsing.manifests(source);
  } catch (error) {
    if (error instanceof TransporterError && error.code === "EMPTY_MANIFESTS") return [];
    throw error;
  }
}

/** Reads what an event asks for, from its own text or from the ledger. Never rejects: what cannot be read touches nothing and fails with the reason. */
export async function prepare(key: string, work: Work, source: ManifestSource | undefined, options: PreparationOptions): Promise<Prepared> {
  if (work.fault !== undefined || (work.type !== "k8s_resource" && work.type !== "script")) return NOTHING;
  let chars = 0;
  let large = false;
  try {
    const found = source ?? (await options.ledger.manifests(key));
    if (found === undefined) throw new TransporterError("INTERNAL", "the manifests of the event are lost");
    chars = found.length;
    large = chars > OFF_LOOP_CHARS;
    if (large) await options.beforeLarge();
    if (work.type === "script") return { content: scriptOf(manifestsOf(found)), locks: NO_LOCKS, chars };
    const isNamed = namedObjects(work.options).length > 0;
    const objects = isNamed ? await readObjects(found, options.parsing) : await options.parsing.manifests(found);
    const { defaultNamespace } = options;
    return { content: objects, locks: withNamed(lockSet(objects, defaultNamespace), work.options, defaultNamespace), chars };
  } catch (error) {
    return { content: toTransporterError(error), locks: NO_LOCKS, chars };
  } finally {
    if (large) options.afterLarge();
  }
}
