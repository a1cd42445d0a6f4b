import { TransporterError, childEnvironment, messageOf } from "../kit/mod.ts";
import { type ManifestText, collectText } from "./sources.ts";

/**
 * Builds a kustomization by the kubectl found on PATH. Throws FILE_UNREADABLE with kubectl's own words, or saying that there is none.
 */
export async function buildKustomization(
  directory: string,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<ManifestText> {
  let child;
  try {
    // `--` would not help: kubectl takes what follows `kustomize` as its directory, so a leading dash is made a path.
    child = Bun.spawn(["kubectl", "kustomize", directory.startsWith("-") ? `./${directory}` : directory], {
      env: childEnvironment(env),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      signal,
    });
  } catch (error) {
    throw new TransporterError("FILE_UNREADABLE", `-k ${directory}: kubectl could not be started: ${messageOf(error)}`, {
      cause: error,
      remedy: "Install kubectl, or build the kustomization yourself and give it with -f -.",
    });
  }
  const [out, errors, status] = await Promise.all([
    collectText(child.stdout, `the output of kubectl kustomize ${directory}`),
    collectText(child.stderr, "kubectl", 1024 * 1024).catch(() => ({ text: "", bytes: 0 })),
    child.exited,
  ]);
  signal.throwIfAborted();
  if (status !== 0)
    throw new TransporterError(
      "FILE_UNREADABLE",
      `-k ${directory}: kubectl kustomize ended with ${status}: ${errors.text.trim().slice(0, 2000)}`,
      {
        remedy: "Correct what kubectl names; `kubectl kustomize DIR` shows the same.",
      },
    );
  if (out.text.trim() === "") throw new TransporterError("FILE_UNREADABLE", `-k ${directory}: the kustomization is empty`);
  return { from: `-k ${directory}`, text: out.text };
}
