import { TransporterError } from "../kit/mod.ts";
import { type JsonOperation, readPatch } from "../manifests/mod.ts";
import type { OperationOptions, Patch } from "../protocol/mod.ts";

function valuesOf(patch: Patch): unknown {
  const { value } = readPatch(patch.patch, patch.type, patch.name);
  const metadata = { name: patch.name, namespace: patch.namespace };
  if (patch.type !== "json") return { ...(value as object), kind: "Secret", metadata };
  const named = (value as readonly JsonOperation[]).map((operation): readonly [string, unknown] => [operation.path, operation.value]);
  // A value may be put in alone or with all others; either way everything below these two is one.
  const below = (field: string): unknown =>
    named.filter(([path]) => path === `/${field}` || path.startsWith(`/${field}/`)).map(([, one]) => one);
  return { kind: "Secret", metadata, data: below("data"), stringData: below("stringData") };
}

/** The values that patches put into Secrets, as manifests of Secrets have them: an API server quotes what it refuses. */
export function patchedSecrets(options: OperationOptions | undefined): unknown[] {
  return (options?.patches ?? []).flatMap((patch) => {
    if (patch.kind !== "Secret") return [];
    try {
      return [valuesOf(patch)];
    } catch (error) {
      // What cannot be read is refused for that, by its place and without its words.
      if (error instanceof TransporterError) return [];
      throw error;
    }
  });
}
