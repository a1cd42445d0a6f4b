import * as v from "valibot";
import type { Places } from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import { readIfThere, writePrivate } from "./private-file.ts";

const ContextSchema = v.looseObject({
  cp_url: v.string(),
  ca_file: v.optional(v.string()),
  /** A certificate to log in with, where no token is kept. */
  client_cert: v.optional(v.string()),
  client_key: v.optional(v.string()),
});
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
  const text = await readIfThere(path);
  if (text === undefined) return { contexts: {} };
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

/** Writes the file whole, readable by its owner alone. */
export async function writeContexts(places: Places, contexts: Contexts, unique: string): Promise<void> {
  await writePrivate(pathOf(places), `${JSON.stringify(contexts, null, 2)}\n`, unique);
}

/** The context of that name, own keys only. */
export function contextNamed(contexts: Contexts, name: string): Context | undefined {
  return Object.hasOwn(contexts.contexts, name) ? contexts.contexts[name] : undefined;
}
