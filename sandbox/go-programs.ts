import { mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname, join } from "node:path";
import { sandboxCache } from "./debian.ts";
import { isExecutable } from "./program.ts";
import { Watchdog } from "./watchdog.ts";

/** Programs that a go.mod and go.sum of ours pin, built from source. */
export interface GoModule<Name extends string> {
  /** Holds go.mod and go.sum. */
  readonly directory: string;
  /** Program to Go package, in the order in which they are built; one that begins with `./` is ours, in that directory. */
  readonly packages: Readonly<Record<Name, string>>;
  /** The required module whose version is told to people, stamped into the programs and part of where they are kept. */
  readonly versionOf: string;
  /** For `-ldflags`. */
  readonly stamp?: (version: string) => string;
  /** Build tags: some programs can leave out what they are not needed for. */
  readonly tags?: string;
  /** What they are, for sentences. */
  readonly label: string;
  /** Begins the name of the directory where they are kept; empty for the cluster's own. */
  readonly prefix: string;
  /** What the first build costs, as a sentence. */
  readonly cost: string;
  /** A directory of the user's whose programs go first. */
  readonly ownDirectory?: () => string | undefined;
  /** What else to do for whoever has no Go, as the end of a sentence. */
  readonly otherwise?: string;
}

/** Each resolves to a path as soon as that one program is there; all reject together when the build fails. */
export type Programs<Name extends string> = Readonly<Record<Name, Promise<string>>>;

export interface PrepareOptions<Name extends string> {
  /** Receives one line at a time for people; called only when there is something to wait for. */
  readonly onProgress?: (line: string) => void;
  /** All when absent. What is not asked for and not there is never resolved. */
  readonly names?: readonly Name[];
}

/** Without news for longer than this, the holder of the build lock is taken for dead. */
const LOCK_STALE_MS = 30_000;
const PROGRESS_EVERY_MS = 15_000;

/** Finds the programs of one Go module in the cache, and builds those that are missing. */
export class GoPrograms<Name extends string> {
  readonly #module: GoModule<Name>;
  readonly names: readonly Name[];

  constructor(module: GoModule<Name>) {
    this.#module = module;
    this.names = Object.keys(module.packages) as Name[];
  }

  async version(): Promise<string> {
    const goMod = await readFile(join(this.#module.directory, "go.mod"), "utf8");
    const required = goMod
      .split("\n")
      .map((line) => line.replace(/^require /, "").trim())
      .find((line) => line.startsWith(`${this.#module.versionOf} v`));
    const version = required?.split(" ")[1];
    if (version === undefined) throw new Error(`${join(this.#module.directory, "go.mod")} does not require ${this.#module.versionOf}`);
    return version;
  }

  /** Where the programs of exactly this go.mod and go.sum, and of exactly our own sources, are kept. */
  async directory(): Promise<string> {
    const hasher = new Bun.CryptoHasher("sha256");
    for (const name of ["go.mod", "go.sum"]) hasher.update(await readFile(join(this.#module.directory, name), "utf8"));
    for (const name of this.names) {
      const own = this.#module.packages[name];
      if (!own.startsWith("./")) continue;
      const files = (await readdir(join(this.#module.directory, own))).filter((file) => file.endsWith(".go")).toSorted();
      for (const file of files) hasher.update(await readFile(join(this.#module.directory, own, file), "utf8"));
    }
    const hash = hasher.digest("hex").slice(0, 12);
    return join(sandboxCache(), `${this.#module.prefix}${await this.version()}-${process.platform}-${process.arch}-${hash}`, "bin");
  }

  /** A program that is there already. */
  async #present(name: Name, directory: string): Promise<string | undefined> {
    const own = this.#module.ownDirectory?.();
    if (own !== undefined && own !== "" && (await isExecutable(join(own, name)))) return join(own, name);
    return (await isExecutable(join(directory, name))) ? join(directory, name) : undefined;
  }

  /** The names of those programs that would have to be built. */
  async missing(names: readonly Name[] = this.names): Promise<Name[]> {
    const directory = await this.directory();
    const missing: Name[] = [];
    for (const name of names) if ((await this.#present(name, directory)) === undefined) missing.push(name);
    return missing;
  }

  /** Finds every program, and builds what is missing from the Go modules that go.mod pins and go.sum checks. */
  prepare(options: PrepareOptions<Name> = {}): Programs<Name> {
    const waiting = Object.fromEntries(this.names.map((name) => [name, Promise.withResolvers<string>()])) as Record<
      Name,
      PromiseWithResolvers<string>
    >;
    // Whoever asked for one program only must not be ended by the rejection of another.
    for (const name of this.names) waiting[name].promise.catch(() => undefined);
    const { names = this.names, onProgress = () => undefined } = options;
    void this.#provide(names, (name, path) => waiting[name].resolve(path), onProgress).catch((error: unknown) => {
      for (const name of this.names) waiting[name].reject(error);
    });
    return Object.fromEntries(this.names.map((name) => [name, waiting[name].promise])) as unknown as Programs<Name>;
  }

  async #provide(asked: readonly Name[], found: (name: Name, path: string) => void, say: (line: string) => void): Promise<void> {
    const directory = await this.directory();
    const missing = new Set<Name>();
    const look = async (names: readonly Name[]): Promise<void> => {
      for (const name of names) {
        const path = await this.#present(name, directory);
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
        await this.#buildAll([...missing], directory, found, say);
        return;
      }
      if (!said) say(`Another process is building ${this.#module.label}; waiting for it.`);
      said = true;
      await Bun.sleep(500);
      await look([...missing]);
      if (missing.size === 0) return;
    }
  }

  async #buildAll(
    names: readonly Name[],
    directory: string,
    found: (name: Name, path: string) => void,
    say: (line: string) => void,
  ): Promise<void> {
    if (names.length === 0) return;
    const { label, cost, otherwise } = this.#module;
    const go = Bun.which("go");
    if (go === null)
      throw new Error(
        `The sandbox needs ${names.join(", ")}, and building them needs Go, which is not on PATH.\n` +
          `Install Go 1.21 or later (https://go.dev/dl)${otherwise === undefined ? "" : `, or ${otherwise}`}.`,
      );
    const version = await this.version();
    const startedMs = performance.now();
    say(`Building ${label} ${version} once, from source (${names.join(", ")}). ${cost}`);
    say(`Kept for the next time in ${directory}`);
    // Keeps a compiler from running on when we are gone.
    const watchdog = new Watchdog();
    for (const [index, name] of names.entries()) {
      const progress = `[${index + 1}/${names.length}] ${name}`;
      const toolStartedMs = performance.now();
      const report = setInterval(
        () => say(`${progress}: building for ${elapsed(toolStartedMs)} (${elapsed(startedMs)} in all)`),
        PROGRESS_EVERY_MS,
      );
      try {
        found(name, await this.#buildOne(go, name, version, directory, watchdog));
      } finally {
        clearInterval(report);
      }
      say(`${progress}: built in ${elapsed(toolStartedMs)} (${elapsed(startedMs)} in all)`);
    }
    watchdog.close();
  }

  async #buildOne(go: string, name: Name, version: string, directory: string, watchdog: Watchdog): Promise<string> {
    const path = join(directory, name);
    const partial = join(directory, `.${name}.${process.pid}.partial`);
    const flags = ["-s -w", this.#module.stamp?.(version) ?? ""].join(" ").trim();
    const { tags, packages } = this.#module;
    const options = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", flags, ...(tags === undefined ? [] : ["-tags", tags])];
    const build = Bun.spawn([go, "build", ...options, "-o", partial, packages[name]], {
      cwd: this.#module.directory,
      env: { ...process.env, CGO_ENABLED: "0", GOWORK: "off" },
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
      detached: true,
    });
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

function elapsed(sinceMs: number): string {
  const seconds = Math.round((performance.now() - sinceMs) / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m ${String(seconds % 60).padStart(2, "0")}s`;
}
