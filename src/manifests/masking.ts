import { isSecretName, REDACTED, redactText } from "../redaction/mod.ts";

type Json = Readonly<Record<string, unknown>>;
/** A value before and after. */
type Pair = readonly [unknown, unknown];

/** As kubectl masks the data of Secrets. */
const MASK = "***";
const LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration";

function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function there(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Hides two values by the same word, so that it still shows whether they differ, and nothing else. */
function hidePair([before, after]: Pair, word: string): Pair {
  if (there(before) && there(after) && before !== after) return [`${word} (before)`, `${word} (after)`];
  return [there(before) ? word : before, there(after) ? word : after];
}

/** Every value of a map, or nothing where there is none. */
function hideValues(before: unknown, after: unknown): Pair {
  const [old, now] = [isRecord(before) ? { ...before } : before, isRecord(after) ? { ...after } : after];
  for (const key of new Set([...(isRecord(old) ? Object.keys(old) : []), ...(isRecord(now) ? Object.keys(now) : [])])) {
    const [was, is] = hidePair([isRecord(old) ? old[key] : undefined, isRecord(now) ? now[key] : undefined], MASK);
    if (isRecord(old) && key in old) Object.assign(old, { [key]: was });
    if (isRecord(now) && key in now) Object.assign(now, { [key]: is });
  }
  return [old, now];
}

function isSecret(value: unknown): boolean {
  return isRecord(value) && value["kind"] === "Secret" && value["apiVersion"] === "v1";
}

/** Client-side apply leaves a copy of the whole manifest there, data and all. */
function maskSecret(before: Json | undefined, after: Json | undefined): readonly [Json | undefined, Json | undefined] {
  let [old, now] = [before, after];
  for (const field of ["data", "stringData"]) {
    const [was, is] = hideValues(old?.[field], now?.[field]);
    if (old !== undefined && field in old) old = { ...old, [field]: was };
    if (now !== undefined && field in now) now = { ...now, [field]: is };
  }
  const copyOf = (object: Json | undefined): unknown => {
    const metadata = object?.["metadata"];
    const annotations = isRecord(metadata) ? metadata["annotations"] : undefined;
    return isRecord(annotations) ? annotations[LAST_APPLIED] : undefined;
  };
  const withCopy = (object: Json | undefined, copy: unknown): Json | undefined => {
    const metadata = object?.["metadata"];
    const annotations = isRecord(metadata) ? metadata["annotations"] : undefined;
    if (object === undefined || !isRecord(metadata) || !isRecord(annotations) || copy === undefined) return object;
    return { ...object, metadata: { ...metadata, annotations: { ...annotations, [LAST_APPLIED]: copy } } };
  };
  const [was, is] = hidePair([copyOf(old), copyOf(now)], MASK);
  return [withCopy(old, was), withCopy(now, is)];
}

function maskText([before, after]: Pair, secret: boolean): Pair {
  const hide = (value: unknown): unknown => (typeof value !== "string" || value === "" ? value : secret ? REDACTED : redactText(value));
  const [was, is] = [hide(before), hide(after)];
  if (was !== is || before === after || typeof was !== "string") return [was, is];
  return [`${was} (before)`, `${was} (after)`];
}

/** Items that belong together: by name where they have one, otherwise by their place. */
function counterpart(list: readonly unknown[], item: unknown, at: number): unknown {
  const name = isRecord(item) ? item["name"] : undefined;
  return typeof name === "string" ? list.find((other) => isRecord(other) && other["name"] === name) : list[at];
}

function maskOne(value: unknown, other: unknown, side: 0 | 1, secret: boolean, depth: number): unknown {
  if (depth > 100) return value;
  if (typeof value === "string") return maskText(side === 0 ? [value, other] : [other, value], secret)[side];
  if (Array.isArray(value)) {
    const others: readonly unknown[] = Array.isArray(other) ? other : [];
    return value.map((item: unknown, at) => maskOne(item, counterpart(others, item, at), side, secret, depth + 1));
  }
  if (!isRecord(value)) return value;
  const named = typeof value["name"] === "string" && isSecretName(value["name"]);
  const theirs = isRecord(other) ? other : {};
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => {
      const hides = typeof child !== "object" || Array.isArray(child) ? isSecretName(key) || (named && key === "value") : false;
      return [key, maskOne(child, theirs[key], side, hides, depth + 1)];
    }),
  );
}

/**
 * An object before and after with its secrets hidden, so that it shows whether they change: the data of Secrets as kubectl hides them, the
 * copy that client-side apply keeps of them too, and whatever else has the name or the shape of a secret.
 */
export function maskSecrets(before: Json | undefined, after: Json | undefined): readonly [Json | undefined, Json | undefined] {
  if (isSecret(before) || isSecret(after)) return maskSecret(before, after);
  const old = before === undefined ? undefined : (maskOne(before, after, 0, false, 0) as Json);
  const now = after === undefined ? undefined : (maskOne(after, before, 1, false, 0) as Json);
  return [old, now];
}
