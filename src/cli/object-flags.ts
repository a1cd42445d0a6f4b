import { TransporterError } from "../kit/mod.ts";
import type { IgnoreFields, ReadyWhen, Reference } from "../protocol/mod.ts";
import { knownKind } from "./known-kinds.ts";

function usage(message: string, remedy: string): TransporterError {
  return new TransporterError("USAGE", message, { remedy });
}

const REF_REMEDY = "Write KIND/NAME, as in deployment/web, or API_VERSION/KIND/NAME, as in example.com/v1/Widget/web.";

/** One `--ref`: KIND/NAME of a kind that every cluster has, or VERSION/KIND/NAME, or GROUP/VERSION/KIND/NAME. Throws USAGE. */
export function readReference(text: string, namespace: string | undefined): Reference {
  const parts = text.split("/");
  const place = namespace === undefined ? {} : { namespace };
  if (parts.some((part) => part === "") || parts.length < 2 || parts.length > 4)
    throw usage(`--ref ${JSON.stringify(text)} is not an object's kind and name`, REF_REMEDY);
  const [name = "", kind = "", ...version] = parts.toReversed();
  if (version.length > 0) return { api_version: version.toReversed().join("/"), kind, ...place, name };
  const known = knownKind(kind);
  if (known === undefined)
    throw usage(`--ref ${JSON.stringify(text)}: the kind ${JSON.stringify(kind)} is not one that every cluster has`, REF_REMEDY);
  return { api_version: known.apiVersion, kind: known.kind, ...place, name };
}

type Selection = Pick<IgnoreFields, "kind" | "name">;

/** `KIND=…` and `KIND/NAME=…` in front of a value say which objects it is for. A comparison (`==`) is none. */
const SELECTED = /^([A-Za-z][A-Za-z0-9]*)(?:\/([a-z0-9][a-z0-9.:-]*))?=(?!=)(.*)$/s;

/** A kind in a flag's own words. Of those that not every cluster has only the kind itself is known, as manifests write it. */
function kindOf(word: string, flag: string): string {
  const known = knownKind(word);
  if (known !== undefined) return known.kind;
  if (/^[A-Z]/.test(word)) return word;
  throw usage(
    `--${flag}: the kind ${JSON.stringify(word)} is not one that every cluster has`,
    "Write the kind as manifests do, as in Widget=… or Widget/web=….",
  );
}

function selected(text: string, flag: string): { readonly selection: Selection; readonly value: string } {
  const [, word, name, value] = SELECTED.exec(text) ?? [];
  if (value === undefined) return { selection: {}, value: text };
  const kind = word === undefined ? undefined : kindOf(word, flag);
  return { selection: { ...(kind === undefined ? {} : { kind }), ...(name === undefined ? {} : { name }) }, value };
}

/** `--ignore-field`: JSON pointers, gathered by the objects that they are for. Throws USAGE. */
export function readIgnoreFields(texts: readonly string[]): IgnoreFields[] {
  const gathered = new Map<string, { readonly selection: Selection; readonly pointers: string[] }>();
  for (const text of texts) {
    const { selection, value } = selected(text, "ignore-field");
    if (!value.startsWith("/"))
      throw usage(
        `--ignore-field ${JSON.stringify(text)} is not a JSON pointer to a field`,
        "Write a JSON pointer, as in /spec/replicas or Deployment/web=/spec/replicas.",
      );
    const key = JSON.stringify(selection);
    const known = gathered.get(key);
    if (known === undefined) gathered.set(key, { selection, pointers: [value] });
    else known.pointers.push(value);
  }
  return [...gathered.values()].map(({ selection, pointers }) => ({ ...selection, pointers }));
}

/** `--ready-when`, and `--failed-when` for the same objects. Throws USAGE where one says when nothing helps any more, and none when it is ready. */
export function readReadyWhen(ready: readonly string[], failed: readonly string[]): ReadyWhen[] {
  const hopeless = new Map(
    failed.map((text) => {
      const { selection, value } = selected(text, "failed-when");
      return [JSON.stringify(selection), value] as const;
    }),
  );
  const out = ready.map((text): ReadyWhen => {
    const { selection, value } = selected(text, "ready-when");
    const key = JSON.stringify(selection);
    const other = hopeless.get(key);
    hopeless.delete(key);
    return { ...selection, ready: value, ...(other === undefined ? {} : { failed: other }) };
  });
  if (hopeless.size > 0)
    throw usage(
      "--failed-when needs a --ready-when for the same objects",
      "Give both with the same KIND= or KIND/NAME= in front, or both without.",
    );
  return out;
}
