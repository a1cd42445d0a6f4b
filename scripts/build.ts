/** Makes ./transporter. The commit is put in at build time as BUILD_COMMIT, which does not exist when the program runs from source. */
import { chmod, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { BUN, capture, EXECUTABLE, ROOT, seconds } from "./run.ts";

/** The commit of the working copy, marked when files differ from it; `unknown` outside a repository. */
async function commit(): Promise<string> {
  if (Bun.which("git") === null) return "unknown";
  const head = await capture(["git", "rev-parse", "--short=12", "HEAD"]);
  if (head.exitCode !== 0) return "unknown";
  const changes = await capture(["git", "status", "--porcelain", "--untracked-files=no"]);
  return changes.output === "" ? head.output : `${head.output}-dirty`;
}

/** Builds beside the target and moves, so that a failed build leaves the last good one and a running one is not overwritten. */
export async function build(): Promise<void> {
  const startedMs = performance.now();
  // A worker that is no entry point of its own is missing from the executable.
  const workers = [...new Bun.Glob("src/**/*.worker.ts").scanSync({ cwd: ROOT })].toSorted();
  const partial = join(ROOT, `.transporter.${process.pid}.partial`);
  const made = await capture([
    BUN,
    "build",
    "--compile",
    "--minify",
    "--sourcemap=none",
    "--bytecode",
    "--format=esm",
    "--splitting",
    // A .env or bunfig.toml in the directory where somebody happens to stand must not decide what the program does.
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    "--root=.",
    `--define=BUILD_COMMIT=${JSON.stringify(await commit())}`,
    `--outfile=${partial}`,
    "bin/transporter.ts",
    ...workers,
  ]);
  if (made.exitCode !== 0) {
    await rm(partial, { force: true });
    throw new Error(`bun build ended with ${made.exitCode}:\n${made.output}`);
  }
  await chmod(partial, 0o755);
  await rename(partial, EXECUTABLE);
  const { size } = await stat(EXECUTABLE);
  const version = await fastestVersion();
  console.log(
    `./transporter: ${(size / 1e6).toFixed(0)} MB in ${seconds(startedMs)}; --version in ${version.ms.toFixed(0)} ms says: ${version.text}`,
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
