import { createHash } from "node:crypto";

const VERSION = "p1-";
const MANIFEST_BYTES = 9;
const STATE_BYTES = 15;
const MARK_BYTES = 2;
/** With more objects than that, neighbours share a mark: a token is to fit into a command line. */
const MOST_MARKS = 64;

/** What a plan stands for, as it is seen now. */
export interface Sight {
  /** Everything that says what is to be done: manifests with their treatment, one text for each object. */
  readonly wanted: readonly string[];
  /** The print of each object as it stands, in the same order. */
  readonly prints: readonly string[];
}

export type PlanVerdict =
  | { readonly kind: "holds" }
  | { readonly kind: "unreadable" }
  | { readonly kind: "other-manifests" }
  /** Indices of the objects that have moved, or, not `exactly`, among which some have; empty where that cannot be told. */
  | { readonly kind: "moved"; readonly objects: readonly number[]; readonly exactly: boolean };

function digest(texts: readonly string[], bytes: number): Buffer {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(`${Buffer.byteLength(text)}\n${text}`);
  return hash.digest().subarray(0, bytes);
}

/** Objects that share a mark. */
function groupsOf(count: number): (readonly [number, number])[] {
  const groups = Math.min(count, MOST_MARKS);
  return Array.from(
    { length: groups },
    (_one, at) => [Math.floor((at * count) / groups), Math.floor(((at + 1) * count) / groups)] as const,
  );
}

function marksOf(prints: readonly string[]): Buffer[] {
  return groupsOf(prints.length).map(([from, to]) => digest(prints.slice(from, to), MARK_BYTES));
}

/**
 * The plan: a short text that stands for what is wanted and what was seen. It holds no values; what Secrets hold does not go into it beyond
 * the manifests, whose digest everybody sees who sees the event.
 */
export function planToken({ wanted, prints }: Sight): string {
  const bytes = Buffer.concat([digest(wanted, MANIFEST_BYTES), digest(prints, STATE_BYTES), ...marksOf(prints)]);
  return `${VERSION}${bytes.toString("base64url")}`;
}

/** Whether a plan stands for what is seen now. */
export function comparePlan(token: string, sight: Sight): PlanVerdict {
  if (!token.startsWith(VERSION) || !/^[A-Za-z0-9_-]+$/.test(token)) return { kind: "unreadable" };
  const bytes = Buffer.from(token.slice(VERSION.length), "base64url");
  const state = bytes.subarray(MANIFEST_BYTES, MANIFEST_BYTES + STATE_BYTES);
  if (state.length < STATE_BYTES) return { kind: "unreadable" };
  if (!bytes.subarray(0, MANIFEST_BYTES).equals(digest(sight.wanted, MANIFEST_BYTES))) return { kind: "other-manifests" };
  if (state.equals(digest(sight.prints, STATE_BYTES))) return { kind: "holds" };
  const marks = marksOf(sight.prints);
  const objects = groupsOf(sight.prints.length).flatMap(([from, to], at) => {
    const start = MANIFEST_BYTES + STATE_BYTES + at * MARK_BYTES;
    const same = marks[at]?.equals(bytes.subarray(start, start + MARK_BYTES)) === true;
    return same ? [] : Array.from({ length: to - from }, (_one, index) => from + index);
  });
  return { kind: "moved", objects, exactly: sight.prints.length <= MOST_MARKS };
}
