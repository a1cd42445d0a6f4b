import { list, type Settings, toggle, type ValuesOf } from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import { buildKustomization, type ManifestText, readManifests } from "../producer/mod.ts";
import type { Call } from "./command.ts";

/** Where manifests come from. */
export const MANIFEST_SETTINGS = {
  manifest: list({
    short: "m",
    describe: "Manifest file; repeatable, or separated by commas",
    hint: "FILE",
    flagOnly: true,
    completes: "file",
  }),
  filename: list({
    short: "f",
    aliases: ["file"],
    describe: "Manifest file, directory, http(s) address, or - for standard input; repeatable",
    hint: "FILE|DIR|URL|-",
    flagOnly: true,
    completes: "file",
  }),
  recursive: toggle(false, { short: "R", describe: "With -f DIR: the directories below it too", flagOnly: true }),
  kustomize: list({
    short: "k",
    describe: "Build this kustomization by kubectl and send what comes out",
    hint: "DIR",
    flagOnly: true,
    completes: "dir",
  }),
} as const satisfies Settings;

type SourceCall = Omit<Call<typeof MANIFEST_SETTINGS>, "values" | "origins"> & { readonly values: ValuesOf<typeof MANIFEST_SETTINGS> };

/**
 * Every manifest that the flags name. Where there is none, `optional` is none, and what to give is said by `remedy`. Throws USAGE,
 * FILE_UNREADABLE, EMPTY_MANIFESTS.
 */
export async function collectManifests(
  call: SourceCall,
  optional = false,
  remedy = "Give -f FILE (or DIR, URL, -), --manifest FILE, or -k DIR.",
): Promise<ManifestText[]> {
  const { values, host, ports, signal } = call;
  const sources = [...values.manifest, ...values.filename];
  if (sources.length === 0 && values.kustomize.length === 0) {
    if (optional) return [];
    throw new TransporterError("USAGE", "no manifest was given", { remedy });
  }
  const manifests = await readManifests(sources, {
    recursive: values.recursive,
    stdin: host.stdin,
    fetch: async (url, { signal: ending, timeoutMs, maxBytes }) => {
      const { guardedFetch } = await import("../net/mod.ts");
      return guardedFetch(url, { headers: { accept: "*/*" }, signal: ending }, { proxyEnv: host.env, timeoutMs, maxBytes });
    },
    timers: ports.timers,
    signal,
  });
  for (const directory of values.kustomize) manifests.push(await buildKustomization(directory, host.env, signal));
  for (const { from, text } of manifests)
    if (text.trim() === "")
      throw new TransporterError("EMPTY_MANIFESTS", `${from} is empty`, { remedy: "Leave it out, or put a manifest into it." });
  return manifests;
}

/** Parses every manifest as the agent will, so that a fault names its file. */
export async function countObjects(manifests: readonly ManifestText[]): Promise<number> {
  const { parseManifests } = await import("../manifests/mod.ts");
  let count = 0;
  for (const { from, text } of manifests) {
    try {
      count += parseManifests([text]).length;
    } catch (error) {
      if (!(error instanceof TransporterError)) throw error;
      throw new TransporterError(error.code, `${from}: ${error.message}`, { details: error.details, cause: error, remedy: error.remedy });
    }
  }
  return count;
}
