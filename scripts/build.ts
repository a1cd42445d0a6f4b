/** Makes ./transporter for this machine. `just build-all` makes it for every machine. */
import { stat } from "node:fs/promises";
import { compile, source } from "./build-target.ts";
import { capture, EXECUTABLE, seconds } from "./run.ts";

export async function build(): Promise<void> {
  const startedMs = performance.now();
  const { commit } = await source();
  await compile({ outfile: EXECUTABLE, commit });
  const { size } = await stat(EXECUTABLE);
  const version = await fastestVersion();
  console.log(
    `./transporter: ${(size / 1e6).toFixed(1)} MB in ${seconds(startedMs)}; --version in ${version.ms.toFixed(0)} ms says: ${version.text}`,
  );
}

/** The best of five: the first start reads 110 MB from disk and says nothing about the program. */
async function fastestVersion(): Promise<{ readonly ms: number; readonly text: string }> {
  let best = { ms: Number.POSITIVE_INFINITY, text: "" };
  for (let round = 0; round < 5; round += 1) {
    const startedMs = performance.now();
    const answer = await capture([EXECUTABLE, "--version"]);
    const ms = performance.now() - startedMs;
    if (answer.exitCode !== 0) throw new Error(`./transporter --version ended with ${answer.exitCode}:\n${answer.output}`);
    if (ms < best.ms) best = { ms, text: answer.output };
  }
  return best;
}

if (import.meta.main) {
  try {
    await build();
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
