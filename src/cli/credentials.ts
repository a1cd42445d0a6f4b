import { stat } from "node:fs/promises";
import * as v from "valibot";
import type { Places } from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import { readIfThere, writePrivate } from "./private-file.ts";

const SavedSchema = v.object({
  /** Where it was given; it is shown nowhere else. */
  cp_url: v.string(),
  token: v.string(),
});
const FileSchema = v.looseObject({ credentials: v.record(v.string(), SavedSchema) });

/** What `transporter login` keeps for a context. */
export type SavedCredential = v.InferOutput<typeof SavedSchema>;
type Saved = Readonly<Record<string, SavedCredential>>;

export function credentialsPath(places: Places): string {
  if (places.config === undefined)
    throw new TransporterError("CONFIG_INVALID", "there is no place for credentials: neither HOME nor XDG_CONFIG_HOME is set", {
      remedy: "Set HOME, or give the token by TRANSPORTER_TOKEN each time.",
    });
  return `${places.config}/credentials.json`;
}

/** All that is kept, by context. CONFIG_INVALID where the file is damaged, or others may read it. */
export async function readCredentials(places: Places): Promise<Saved> {
  if (places.config === undefined) return {};
  const path = credentialsPath(places);
  const text = await readIfThere(path);
  if (text === undefined) return {};
  const mode = (await stat(path)).mode & 0o777;
  if ((mode & 0o077) !== 0)
    throw new TransporterError("CONFIG_INVALID", `${path} can be read by others (mode 0${mode.toString(8)})`, {
      remedy: `\`chmod 600 ${path}\`; if others were on this machine meanwhile, revoke its tokens and log in anew.`,
    });
  const parsed = v.safeParse(FileSchema, parsedOrUndefined(text));
  // What it says stands in no message: it holds tokens.
  if (!parsed.success)
    throw new TransporterError("CONFIG_INVALID", `${path} is not a file of credentials`, {
      remedy: "Remove it, and log in anew with `transporter login`.",
    });
  return parsed.output.credentials;
}

function parsedOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The credential of that context, own keys only. */
export function credentialNamed(saved: Saved, context: string): SavedCredential | undefined {
  return Object.hasOwn(saved, context) ? saved[context] : undefined;
}

/** Keeps a credential for a context, or removes it. */
export async function writeCredential(
  places: Places,
  context: string,
  credential: SavedCredential | undefined,
  unique: string,
): Promise<void> {
  const { [context]: _before, ...others } = await readCredentials(places);
  const credentials = credential === undefined ? others : { ...others, [context]: credential };
  await writePrivate(credentialsPath(places), `${JSON.stringify({ credentials }, null, 2)}\n`, unique);
}
