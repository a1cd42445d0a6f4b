import { maskSecrets } from "./masking.ts";
import { unifiedHunks } from "./unified.ts";
import { yamlText } from "./yaml-text.ts";

type Json = Readonly<Record<string, unknown>>;

/** An object as it is and as an apply would leave it; `undefined` where it is not there. */
export interface Difference {
  readonly live: Json | undefined;
  readonly merged: Json | undefined;
}

function withoutManagedFields(object: Json | undefined): Json | undefined {
  const metadata = object?.["metadata"];
  if (object === undefined || typeof metadata !== "object" || metadata === null) return object;
  const { managedFields: _bookkeeping, ...rest } = metadata as Json;
  return { ...object, metadata: rest };
}

/** The name of kubectl's file: GROUP.VERSION.KIND.NAMESPACE.NAME. */
function fileName({ live, merged }: Difference): string {
  const { apiVersion, kind, metadata } = live ?? merged ?? {};
  const { namespace, name } = (metadata ?? {}) as Json;
  return [String(apiVersion).replace("/", "."), kind, namespace ?? "", name].join(".");
}

/**
 * The unified diff of the object's YAML, hunk for hunk as `kubectl diff` shows it; "" where nothing changes. Secrets are masked; what
 * the API server keeps in `managedFields` is left out.
 */
export function differenceText(difference: Difference): string {
  const [live, merged] = maskSecrets(withoutManagedFields(difference.live), withoutManagedFields(difference.merged));
  const [before, after] = [live, merged].map((object) => (object === undefined ? "" : yamlText(object)));
  const hunks = unifiedHunks(before ?? "", after ?? "");
  if (hunks === "") return "";
  const name = fileName(difference);
  return `--- LIVE/${name}\n+++ MERGED/${name}\n${hunks}`;
}

/** A diff of at most so many characters, cut between two lines; what is cut is said in a line that readers of patches pass over. */
export function cutDifference(text: string, chars: number): string {
  if (text.length <= chars || text === "") return text;
  const end = text.lastIndexOf("\n", Math.max(0, chars - 80)) + 1;
  const left = text.slice(end).split("\n").length - 1;
  return `${text.slice(0, end)}\\ ${left} more lines are not shown: the report would get too large\n`;
}
