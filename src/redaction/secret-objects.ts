import { keepSecrets } from "./kept.ts";
import { REDACTED } from "./names.ts";

type Json = Readonly<Record<string, unknown>>;

function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether this is the manifest of a Kubernetes Secret. */
export function isSecretObject(value: Json): boolean {
  return value["kind"] === "Secret" && (isRecord(value["data"]) || isRecord(value["stringData"]));
}

/** `data` or `stringData` of a Secret: its keys, and nothing of their values. */
export function hiddenData(data: unknown): unknown {
  return isRecord(data) ? Object.fromEntries(Object.keys(data).map((key) => [key, REDACTED])) : REDACTED;
}

/**
 * Takes the values of these manifests' Secrets out of everything that is shown, until what is answered is called: an API server quotes them
 * in its errors. What is the name, namespace or kind of one of the objects as well is left, or nobody could read what is said about it.
 */
export function keepSecretsOf(objects: readonly unknown[]): () => void {
  const values = new Set<string>();
  const plain = new Set<string>();
  for (const object of objects) gather(object, values, plain, 0);
  for (const name of plain) values.delete(name);
  return keepSecrets(values);
}

function gather(object: unknown, values: Set<string>, plain: Set<string>, depth: number): void {
  if (!isRecord(object) || depth > 4) return;
  const { kind, metadata, items } = object;
  if (typeof kind === "string") plain.add(kind);
  if (isRecord(metadata)) for (const name of [metadata["name"], metadata["namespace"]]) if (typeof name === "string") plain.add(name);
  if (Array.isArray(items)) for (const item of items) gather(item, values, plain, depth + 1);
  if (kind !== "Secret") return;
  const { data, stringData } = object;
  for (const text of leavesOf(stringData, 0)) values.add(text);
  for (const text of leavesOf(data, 0)) {
    values.add(text);
    const decoded = Buffer.from(text, "base64").toString("utf8");
    // What is no text cannot be quoted as one.
    if (!decoded.includes("\ufffd")) values.add(decoded);
  }
}

/** What stands where a text should, too: it is refused, and quoted. */
function leavesOf(value: unknown, depth: number): string[] {
  if (typeof value === "object" && value !== null)
    return depth < 8 ? Object.values(value as Json).flatMap((child) => leavesOf(child, depth + 1)) : [];
  return typeof value === "string" ? [value] : typeof value === "number" || typeof value === "bigint" ? [value.toString()] : [];
}
