import { DEPENDS_ON_ANNOTATION } from "./annotations.ts";
import { type LockSet, locksOf } from "./locks.ts";
import type { ObjectRef } from "./object.ts";
import { splitApiVersion } from "./object.ts";

/** A value that means the same to every reader of YAML: a string, with nothing around it. Numbers, booleans and null do not begin or read so. */
const PLAIN = /^[A-Za-z][A-Za-z0-9./-]*$/;
const NO_STRING = /^(?:y|n|yes|no|on|off|true|false|null)$/i;
const TOP = /^([A-Za-z][A-Za-z0-9]*):(?: +(\S.*))?$/;
const INNER = /^( +)([A-Za-z]+):(?: +(\S.*))?$/;

function plain(value: string | undefined): string | undefined {
  return value !== undefined && PLAIN.test(value) && !NO_STRING.test(value) ? value : undefined;
}

/** What a mapping at one level of indentation says about some keys; undefined where it is not as plain as can be. */
class Fields {
  readonly #wanted: readonly string[];
  readonly values = new Map<string, string>();
  /** The last line was one of the wanted, whose value must not go on in the next. */
  complete = false;

  constructor(wanted: readonly string[]) {
    this.#wanted = wanted;
  }

  /** False where the line makes it uncertain what is meant. */
  take(key: string, value: string | undefined): boolean {
    this.complete = this.#wanted.includes(key);
    if (!this.complete) return true;
    const text = plain(value?.trimEnd());
    if (text === undefined || this.values.has(key)) return false;
    this.values.set(key, text);
    return true;
  }
}

function readDocument(lines: readonly string[]): ObjectRef | "empty" | undefined {
  const top = new Fields(["apiVersion", "kind"]);
  const inner = new Fields(["name", "namespace"]);
  let [metadata, inMetadata, indent, anything] = [0, false, 0, false];
  for (const line of lines) {
    const text = line.trimStart();
    if (text === "" || text.startsWith("#")) continue;
    anything = true;
    const depth = line.length - text.length;
    if (depth === 0) {
      inMetadata = false;
      // An entry of a list that is the value of the key above.
      if (text === "-" || text.startsWith("- ")) {
        if (top.complete) return undefined;
        continue;
      }
      const match = TOP.exec(line);
      if (match === null || !top.take(match[1] ?? "", match[2])) return undefined;
      if (match[1] !== "metadata") continue;
      if (match[2] !== undefined) return undefined;
      metadata += 1;
      inMetadata = true;
      indent = 0;
    } else if (top.complete) {
      return undefined;
    } else if (inMetadata) {
      if (indent === 0) indent = depth;
      if (depth < indent) return undefined;
      if (depth > indent) {
        if (inner.complete) return undefined;
        continue;
      }
      const match = INNER.exec(line);
      if (match === null || !inner.take(match[2] ?? "", match[3])) return undefined;
    }
  }
  if (!anything) return "empty";
  const [kind, name, gv] = [top.values.get("kind"), inner.values.get("name"), splitApiVersion(top.values.get("apiVersion") ?? "")];
  if (metadata !== 1 || kind === undefined || name === undefined || gv === undefined) return undefined;
  // What holds other objects, or brings other kinds, is more than its own name.
  if (kind.endsWith("List") || kind === "CustomResourceDefinition") return undefined;
  return { ...gv, kind, namespace: inner.values.get("namespace"), name };
}

/**
 * The locks of manifests that are written as nearly all are: block YAML with plain names, one object a document. Costs a fiftieth of parsing, for
 * those who must know it of thousands; undefined where the writing leaves any doubt, and then parsing decides. It may name locks for
 * manifests that do not parse, which lock nothing, as they fail; a test holds it to parsing otherwise.
 */
export function plainLockSet(manifests: readonly string[], defaultNamespace = "default"): LockSet | undefined {
  const refs: ObjectRef[] = [];
  for (const manifest of manifests) {
    // What else an object leans on is said by an annotation, which is not as plain.
    if (manifest.includes(DEPENDS_ON_ANNOTATION)) return undefined;
    if (/[\t\r\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028\u2029\ufeff]/.test(manifest)) return undefined;
    let lines: string[] = [];
    for (const line of [...manifest.split("\n"), "---"]) {
      if (!line.startsWith("---")) {
        lines.push(line);
        continue;
      }
      if (line.trimEnd() !== "---") return undefined;
      const ref = readDocument(lines);
      if (ref === undefined) return undefined;
      if (ref !== "empty") refs.push(ref);
      lines = [];
    }
  }
  return locksOf(refs, defaultNamespace);
}
