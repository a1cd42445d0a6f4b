/** How the executable is compiled, for this machine or another: the same sources give the same bytes, wherever and whenever they are compiled. */
import { chmod, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BUN, capture, ROOT } from "./run.ts";

/** What is compiled for others; the runtimes come through the package registry. The names are those of the files, with machines as container images call them. */
export const TARGETS: Readonly<Record<string, string>> = {
  "linux-amd64": "bun-linux-x64",
  "linux-arm64": "bun-linux-arm64",
  "linux-amd64-musl": "bun-linux-x64-musl",
  "linux-arm64-musl": "bun-linux-arm64-musl",
  "darwin-amd64": "bun-darwin-x64",
  "darwin-arm64": "bun-darwin-arm64",
  "windows-amd64": "bun-windows-x64",
};

export function fileName(target: string): string {
  return `transporter-${target}${target.startsWith("windows-") ? ".exe" : ""}`;
}

/** What the executable is built from. */
export interface Source {
  /** Marked when files differ from it; `unknown` where nothing tells. */
  readonly commit: string;
  /** When the commit was made, in seconds: the only date that every build of it agrees on. */
  readonly epoch: number;
}

/** As TRANSPORTER_BUILD_COMMIT and SOURCE_DATE_EPOCH say, which is how a build without the repository is told, else as git has it. */
export async function source(): Promise<Source> {
  const named = process.env["TRANSPORTER_BUILD_COMMIT"] ?? "";
  const dated = process.env["SOURCE_DATE_EPOCH"] ?? "";
  const head = await git("log", "-1", "--format=%H %ct");
  const [hash = "", time = "0"] = (head ?? "").split(" ");
  const changes = hash === "" ? "" : await git("status", "--porcelain", "--untracked-files=no");
  const own = hash === "" ? "unknown" : `${hash.slice(0, 12)}${changes === "" ? "" : "-dirty"}`;
  const epoch = Number(dated === "" ? time : dated);
  if (!Number.isSafeInteger(epoch) || epoch < 0) throw new Error(`SOURCE_DATE_EPOCH is ${dated}, which is no count of seconds`);
  return { commit: named === "" ? own : /^[0-9a-f]{13,}$/.test(named) ? named.slice(0, 12) : named, epoch };
}

async function git(...args: readonly string[]): Promise<string | undefined> {
  if (Bun.which("git") === null) return undefined;
  const { exitCode, output } = await capture(["git", "-C", ROOT, ...args]);
  return exitCode === 0 ? output : undefined;
}

export interface CompileOptions {
  readonly outfile: string;
  readonly commit: string;
  /** One of TARGETS' values; this machine's by default. */
  readonly target?: string;
  /** Where the sources are, with node_modules: another directory must give the same bytes. */
  readonly root?: string;
}

/** Builds beside the target and moves, so that a failed build leaves the last good one and a running one is not overwritten. */
export async function compile({ outfile, commit, target, root = ROOT }: CompileOptions): Promise<void> {
  // A worker that is no entry point of its own is missing from the executable.
  const workers = [...new Bun.Glob("src/**/*.worker.ts").scanSync({ cwd: root })].toSorted();
  await mkdir(dirname(outfile), { recursive: true });
  const partial = await mkdtemp(join(dirname(outfile), ".partial-"));
  try {
    // Its name goes into the bytes: it is the same for every target and every directory.
    const made = join(partial, target?.includes("windows") === true ? "transporter.exe" : "transporter");
    const child = Bun.spawn(
      [
        BUN,
        "build",
        "--compile",
        ...(target === undefined ? [] : [`--target=${target}`]),
        "--minify",
        "--sourcemap=none",
        "--bytecode",
        // What every start needs is on the modules' own level. Their functions deeper down cost 7 MB and gain 5 ms of a control plane's start.
        "--bytecode-depth=0",
        "--format=esm",
        "--splitting",
        // A .env or bunfig.toml in the directory where somebody happens to stand must not decide what the program does.
        "--no-compile-autoload-dotenv",
        "--no-compile-autoload-bunfig",
        "--root=.",
        `--define=BUILD_COMMIT=${JSON.stringify(commit)}`,
        // Old packages would otherwise carry the directory that they were compiled in.
        '--define=__dirname="/"',
        '--define=__filename="/"',
        `--outfile=${made}`,
        "bin/transporter.ts",
        ...workers,
      ],
      { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    );
    const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    if (exitCode !== 0) throw new Error(`bun build of ${basename(outfile)} ended with ${exitCode}:\n${stdout}${stderr}`);
    await chmod(made, 0o755);
    await rename(made, outfile);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}
