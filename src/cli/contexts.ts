import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import * as v from "valibot";
import type { Places } from "../config/mod.ts";
import { TransporterError, messageOf } from "../kit/mod.ts";

const ContextSchema = v.looseObject({ cp_url: v.string(), ca_file: v.optional(v.string()) });
const ContextsSchema = v.looseObject({
  current: v.optional(v.string()),
  contexts: v.optional(v.record(v.string(), ContextSchema), {}),
});
export type Context = v.InferOutput<typeof ContextSchema>;
export type Contexts = v.InferOutput<typeof ContextsSchema>;

function pathOf(places: Places): string {
  if (places.config === undefined)
    throw new TransporterError("CONFIG_INVALID", "there is no place for contexts: neither HOME nor XDG_CONFIG_HOME is set");
  return `${places.config}/contexts.json`;
}

/** Reads the context file; none is the same as an empty one. Throws CONFIG_INVALID where it is damaged. */
export async function readContexts(places: Places): Promise<Contexts> {
  if (places.config === undefined) return { contexts: {} };
  const path = pathOf(places);
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (typeof error === "object" && error !== null && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR"))
      return { contexts: {} };
    throw new TransporterError("FILE_UNREADABLE", `${path}: ${messageOf(error)}`, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TransporterError("CONFIG_INVALID", `${path} is not JSON`, {
      cause: error,
      remedy: "Correct or remove the file; `transporter context add` makes it anew.",
    });
  }
  const parsed = v.safeParse(ContextsSchema, value);
  if (!parsed.success) throw new TransporterError("CONFIG_INVALID", `${path} is not a context file: ${parsed.issues[0].message}`);
  return parsed.output;
}

/** Writes the file whole and readable by its owner alone: tokens will live here. */
export async function writeContexts(places: Places, contexts: Contexts, unique: string): Promise<void> {
  const path = pathOf(places);
  const partial = `${path}.${unique}.tmp`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await writeFile(partial, `${JSON.stringify(contexts, null, 2)}\n`, { mode: 0o600 });
    await chmod(partial, 0o600);
    await rename(partial, path);
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** The context of that name, own keys only. */
export function contextNamed(contexts: Contexts, name: string): Context | undefined {
  return Object.hasOwn(contexts.contexts, name) ? contexts.contexts[name] : undefined;
}
