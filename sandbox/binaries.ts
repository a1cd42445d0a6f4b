import { access, constants, mkdir, open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { Watchdog } from "./watchdog.ts";

/** In the order in which they are built: what a bare API server needs comes first, so that it can run while the rest builds. */
const PACKAGES = {
  etcd: "go.etcd.io/etcd/server/v3",
  "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
  kubectl: "k8s.io/kubernetes/cmd/kubectl",
  "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
  "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
  kwok: "sigs.k8s.io/kwok/cmd/kwok",
  "nats-server": "github.com/nats-io/nats-server/v2",
} as const;

export type BinaryName = keyof typeof PACKAGES;
const BINARY_NAMES = Object.keys(PACKAGES) as BinaryName[];
/** What a cluster is made of. */
export const CLUSTER_BINARIES: readonly BinaryName[] = BINARY_NAMES.filter((name) => name !== "nats-server");

/** Each resolves to a path as soon as that one program is there; all reject together when the build fails. */
export type Binaries = Readonly<Record<BinaryName, Promise<string>>>;

export interface BinariesOptions {
  /** Receives one line at a time for people; called only when there is something to wait for. */
  readonly onProgress?: (line: string) => void;
  /** All when absent. What is not asked for and not there is never resolved. */
  readonly names?: readonly BinaryName[];
}

/** Without news for longer than this, the holder of the build lock is taken for dead. */
const LOCK_STALE_MS = 30_000;
const PROGRESS_EVERY_MS = 15_000;

const MODULE_DIRECTORY = import.meta.dir;

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function moduleTexts(): Promise<{ goMod: string; goSum: string; kubernetes: string }> {
  const goMod = await readFile(join(MODULE_DIRECTORY, "go.mod"), "utf8");
  const goSum = await readFile(join(MODULE_DIRECTORY, "go.sum"), "utf8");
  const kubernetes = /^require k8s\.io\/kubernetes (v\S+)/m.exec(goMod)?.[1];
  if (kubernetes === undefined) throw new Error("sandbox/go.mod does not say which k8s.io/kubernetes it requires");
  return { goMod, goSum, kubernetes };
}

/** Where the programs of exactly this go.mod and go.sum are kept: `$XDG_CACHE_HOME/transporter/sandbox/<key>/bin`. */
export async function binariesDirectory(): Promise<string> {
  const { goMod, goSum, kubernetes } = await moduleTexts();
  const hash = new Bun.CryptoHasher("sha256").update(goMod).update(goSum).digest("hex").slice(0, 12);
  const xdg = process.env["XDG_CACHE_HOME"];
  const cache = xdg !== undefined && xdg.startsWith("/") ? xdg : join(homedir(), ".cache");
  return join(cache, "transporter", "sandbox", `${kubernetes}-${process.platform}-${process.arch}-${hash}`, "bin");
}

/**
 * A program that is there already. KUBEBUILDER_ASSETS goes first for what it holds (usually etcd, kube-apiserver and kubectl), as
 * other Kubernetes tests have it; its version is then the user's choice.
 */
async function present(name: BinaryName, directory: string): Promise<string | undefined> {
  const assets = process.env["KUBEBUILDER_ASSETS"];
  if (assets !== undefined && assets !== "" && (await isExecutable(join(assets, name)))) return join(assets, name);
  return (await isExecutable(join(directory, name))) ? join(directory, name) : undefined;
}

/** The names of those programs that would have to be built. */
export async function missingBinaries(names: readonly BinaryName[] = BINARY_NAMES): Promise<BinaryName[]> {
  const directory = await binariesDirectory();
  const missing: BinaryName[] = [];
  for (const name of names) if ((await present(name, directory)) === undefined) missing.push(name);
  return missing;
}

/** Finds every program, and builds what is missing from the Go modules that sandbox/go.mod pins and go.sum checks. */
export function prepareBinaries(options: BinariesOptions = {}): Binaries {
  const waiting = Object.fromEntries(BINARY_NAMES.map((name) => [name, Promise.withResolvers<string>()])) as Record<
    BinaryName,
    PromiseWithResolvers<string>
  >;
  // Whoever asked for one program only must not be ended by the rejection of another.
  for (const name of BINARY_NAMES) waiting[name].promise.catch(() => undefined);
  const { names = BINARY_NAMES, onProgress = () => undefined } = options;
  void provide(names, (name, path) => waiting[name].resolve(path), onProgress).catch((error: unknown) => {
    for (const name of BINARY_NAMES) waiting[name].reject(error);
  });
  return Object.fromEntries(BINARY_NAMES.map((name) => [name, waiting[name].promise])) as unknown as Binaries;
}

async function provide(
  asked: readonly BinaryName[],
  found: (name: BinaryName, path: string) => void,
  say: (line: string) => void,
): Promise<void> {
  const directory = await binariesDirectory();
  const missing = new Set<BinaryName>();
  const look = async (names: readonly BinaryName[]): Promise<void> => {
    for (const name of names) {
      const path = await present(name, directory);
      if (path === undefined) missing.add(name);
      else {
        missing.delete(name);
        found(name, path);
      }
    }
  };
  await look(asked);
  if (missing.size === 0) return;

  await mkdir(directory, { recursive: true });
  const lockPath = join(dirname(directory), "build.lock");
  let said = false;
  for (;;) {
    await using lock = await takeLock(lockPath);
    if (lock !== undefined) {
      await look([...missing]);
      await buildAll([...missing], directory, found, say);
      return;
    }
    if (!said) say("Another process is building the sandbox's programs; waiting for it.");
    said = true;
    await Bun.sleep(500);
    await look([...missing]);
    if (missing.size === 0) return;
  }
}

/**
 * A file made with O_EXCL whose time the holder renews. Two that find a dead holder at the same moment could both go on; they would
 * then build the same thing twice, and renaming keeps the result whole.
 */
async function takeLock(path: string): Promise<AsyncDisposable | undefined> {
  try {
    const file = await open(path, "wx");
    await file.close();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    const made = await stat(path).catch(() => undefined);
    if (made !== undefined && Date.now() - made.mtimeMs > LOCK_STALE_MS) await rm(path, { force: true });
    return undefined;
  }
  const renewal = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, LOCK_STALE_MS / 6);
  renewal.unref();
  return {
    async [Symbol.asyncDispose]() {
      clearInterval(renewal);
      await rm(path, { force: true });
    },
  };
}

async function buildAll(
  names: readonly BinaryName[],
  directory: string,
  found: (name: BinaryName, path: string) => void,
  say: (line: string) => void,
): Promise<void> {
  if (names.length === 0) return;
  const go = Bun.which("go");
  if (go === null)
    throw new Error(
      `The sandbox needs ${names.join(", ")}, and building them needs Go, which is not on PATH.\n` +
        "Install Go 1.21 or later (https://go.dev/dl), or point KUBEBUILDER_ASSETS at a directory that holds them.",
    );
  const { kubernetes } = await moduleTexts();
  const startedMs = performance.now();
  say(
    `Building Kubernetes ${kubernetes} once, from source (${names.join(", ")}). With nothing cached, 2 cores and a fast connection, expect ` +
      "4 to 7 minutes for the API server and 6 to 10 for all; about 2 GiB of memory and 5 GB of disk.",
  );
  say(`Kept for the next time in ${directory}`);
  // Keeps a compiler from running on when we are gone.
  const watchdog = new Watchdog();
  for (const [index, name] of names.entries()) {
    const label = `[${index + 1}/${names.length}] ${name}`;
    const toolStartedMs = performance.now();
    const report = setInterval(
      () => say(`${label}: building for ${elapsed(toolStartedMs)} (${elapsed(startedMs)} in all)`),
      PROGRESS_EVERY_MS,
    );
    try {
      found(name, await buildOne(go, name, kubernetes, directory, watchdog));
    } finally {
      clearInterval(report);
    }
    say(`${label}: built in ${elapsed(toolStartedMs)} (${elapsed(startedMs)} in all)`);
  }
  watchdog.close();
}

async function buildOne(go: string, name: BinaryName, kubernetes: string, directory: string, watchdog: Watchdog): Promise<string> {
  const path = join(directory, name);
  const partial = join(directory, `.${name}.${process.pid}.partial`);
  const [major, minor] = kubernetes.slice(1).split(".");
  const version = "k8s.io/component-base/version";
  // Unstamped, the API server calls itself v0.0.0-master and clients refuse features.
  const stamp = `-s -w -X ${version}.gitVersion=${kubernetes} -X ${version}.gitMajor=${major} -X ${version}.gitMinor=${minor}`;
  const build = Bun.spawn(
    [go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", stamp, "-o", partial, PACKAGES[name]],
    {
      cwd: MODULE_DIRECTORY,
      env: { ...process.env, CGO_ENABLED: "0", GOWORK: "off" },
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      detached: true,
    },
  );
  watchdog.add(build.pid);
  const [errors, code] = await Promise.all([build.stderr.text(), build.exited]);
  watchdog.drop(build.pid);
  if (code !== 0) {
    await rm(partial, { force: true });
    throw new Error(
      `Building ${name} failed (go build ended with ${code}):\n${errors.trimEnd().split("\n").slice(-15).join("\n")}\n` +
        "Look at the lines above: usually the Go module proxy (GOPROXY) cannot be reached, the disk is full, or Go is older than 1.21.",
    );
  }
  await rename(partial, path);
  return path;
}

function elapsed(sinceMs: number): string {
  const seconds = Math.round((performance.now() - sinceMs) / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m ${String(seconds % 60).padStart(2, "0")}s`;
}
