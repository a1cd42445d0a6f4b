import { access, constants, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { basename, join } from "node:path";

export type RedisFlavor = "redis" | "valkey";

/** A server and its command line, as commands to be followed by arguments, with what they need in their environment. */
export interface RedisPrograms {
  readonly flavor: RedisFlavor;
  /** Such as 7.0.15. */
  readonly version: string;
  readonly server: string;
  readonly cli: string;
  readonly env: Readonly<Record<string, string>>;
}

export interface PrepareRedisOptions {
  readonly flavor?: RedisFlavor;
  /** Receives one line at a time for people; called only when there is something to wait for. */
  readonly onProgress?: (line: string) => void;
}

const OLDEST_MAJOR = 7;
const PACKAGES: Readonly<Record<RedisFlavor, readonly string[]>> = {
  redis: ["redis-server", "redis-tools"],
  valkey: ["valkey-server", "valkey-tools"],
};
/** Where Debian and Ubuntu keep libraries whose package is not named as the library is. */
const LIBRARY_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "liblua5.1-bitop.so.0": ["lua-bitop"],
  "liblua5.1-cjson.so.0": ["lua-cjson"],
  "libssl.so.3": ["libssl3t64", "libssl3"],
  "libcrypto.so.3": ["libssl3t64", "libssl3"],
};

/**
 * A server of version 7 or later that is there already: where REDIS_SERVER or VALKEY_SERVER points (its command line beside it), on PATH, or
 * in the cache. Undefined when there is none.
 */
export async function findRedis(flavor: RedisFlavor = "redis"): Promise<RedisPrograms | undefined> {
  const named = process.env[`${flavor.toUpperCase()}_SERVER`];
  if (named !== undefined && named !== "") {
    const programs = await programsIn(flavor, named, join(named, "..", `${flavor}-cli`), {});
    if (programs === undefined)
      throw new Error(`${flavor.toUpperCase()}_SERVER is ${named}, which is no ${flavor}-server of version 7 or later`);
    return programs;
  }
  const onPath = Bun.which(`${flavor}-server`);
  const cli = Bun.which(`${flavor}-cli`);
  if (onPath !== null && cli !== null) {
    const programs = await programsIn(flavor, onPath, cli, {});
    if (programs !== undefined) return programs;
  }
  return inTree(flavor, treeOf(flavor));
}

/**
 * Finds a server, or on Debian and Ubuntu unpacks the distribution's packages into the cache, which needs no root and installs nothing.
 * Throws with what to do where neither is possible.
 */
export async function prepareRedis(options: PrepareRedisOptions = {}): Promise<RedisPrograms> {
  const flavor = options.flavor ?? "redis";
  const present = await findRedis(flavor);
  if (present !== undefined) return present;
  const missing = (why: string): Error =>
    new Error(
      `The tests against a real ${flavor}-server need one of version ${OLDEST_MAJOR} or later: ${why}\n` +
        `Install it (brew install ${flavor}, apt install ${PACKAGES[flavor].join(" ")}), or point ${flavor.toUpperCase()}_SERVER at one.`,
    );
  if (process.platform !== "linux" || Bun.which("apt-get") === null || Bun.which("dpkg-deb") === null)
    throw missing("there is none on PATH, and only on Debian and Ubuntu it can be fetched without root.");
  options.onProgress?.(`Fetching ${flavor}-server from this distribution's packages, once, without installing it.`);
  const tree = treeOf(flavor);
  await mkdir(join(tree, ".."), { recursive: true });
  const partial = await mkdtemp(`${tree}-partial-`);
  try {
    await unpackAll(flavor, partial);
    if ((await inTree(flavor, partial)) === undefined) throw new Error("what it holds does not run, or is too old.");
    await rename(partial, tree).catch(async (error: unknown) => {
      // Another process was quicker, and its is as good.
      if ((await inTree(flavor, tree)) === undefined) throw error;
    });
  } catch (error) {
    throw missing(`fetching it did not work: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  const programs = await inTree(flavor, tree);
  if (programs === undefined) throw missing("what was fetched does not run.");
  return programs;
}

function treeOf(flavor: RedisFlavor): string {
  const xdg = process.env["XDG_CACHE_HOME"];
  const cache = xdg !== undefined && xdg.startsWith("/") ? xdg : join(homedir(), ".cache");
  return join(cache, "transporter", "sandbox", `${flavor}-${process.platform}-${process.arch}`);
}

async function programsIn(
  flavor: RedisFlavor,
  server: string,
  cli: string,
  env: Readonly<Record<string, string>>,
): Promise<RedisPrograms | undefined> {
  for (const path of [server, cli])
    if (
      !(await access(path, constants.X_OK).then(
        () => true,
        () => false,
      ))
    )
      return undefined;
  const { output, code } = await run([server, "--version"], { env });
  const version = /v=(\d+\.\d+\.\d+)/.exec(output)?.[1];
  return code === 0 && version !== undefined && Number.parseInt(version, 10) >= OLDEST_MAJOR
    ? { flavor, version, server, cli, env }
    : undefined;
}

async function inTree(flavor: RedisFlavor, tree: string): Promise<RedisPrograms | undefined> {
  return programsIn(flavor, join(tree, "usr/bin", `${flavor}-server`), join(tree, "usr/bin", `${flavor}-cli`), {
    LD_LIBRARY_PATH: await librariesOf(tree),
  });
}

async function librariesOf(tree: string): Promise<string> {
  const triplets = await readdir(join(tree, "usr/lib")).catch(() => []);
  return ["usr/lib", ...triplets.filter((name) => name.includes("-linux-")).flatMap((name) => [`usr/lib/${name}`, `lib/${name}`])]
    .map((path) => join(tree, path))
    .join(":");
}

interface Ran {
  readonly code: number;
  readonly output: string;
}
async function run(
  command: readonly string[],
  options: { readonly cwd?: string; readonly env?: Readonly<Record<string, string>> },
): Promise<Ran> {
  const child = Bun.spawn([...command], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, LC_ALL: "C", ...options.env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, output: out + err };
}

async function unpackAll(flavor: RedisFlavor, tree: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "transporter-packages-"));
  try {
    const fetcher = new Packages(work);
    for (const name of PACKAGES[flavor]) await fetcher.unpack([name], tree);
    const server = join(tree, "usr/bin", `${flavor}-server`);
    const tried = new Set<string>();
    // A library that was found may need others.
    for (let rounds = 0; rounds < 8; rounds += 1) {
      const { output } = await run(["ldd", server], { env: { LD_LIBRARY_PATH: await librariesOf(tree) } });
      const absent = [...output.matchAll(/^\s*(\S+) => not found$/gm)].map(([, name = ""]) => name);
      if (absent.length === 0) return;
      for (const library of absent) {
        if (tried.has(library)) throw new Error(`no package was found that has ${library}.`);
        tried.add(library);
        await fetcher.unpack(LIBRARY_PACKAGES[library] ?? namesOf(library), tree);
      }
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** libjemalloc.so.2 is in libjemalloc2; with a digit before the dot (liblua5.1.so.0) it is in liblua5.1-0. */
function namesOf(library: string): readonly string[] {
  const match = /^(.+)\.so\.(.+)$/.exec(library);
  if (match === null) return [library];
  const [, name = "", version = ""] = match;
  const base = name.replaceAll("_", "-").toLowerCase();
  return [`${base}${version}`, `${base}-${version}`, `${base}${version}t64`];
}

/** Fetches packages by the distribution's own means, which checks what it gets; with lists of its own where the machine's are empty or too few. */
class Packages {
  readonly #work: string;
  readonly #ways: Promise<readonly string[]>[];

  constructor(work: string) {
    this.#work = work;
    this.#ways = [Promise.resolve([])];
  }

  async unpack(names: readonly string[], tree: string): Promise<void> {
    let said = "";
    for (let way = 0; way < 3; way += 1) {
      this.#ways[way] ??= this.#lists(way);
      const options = await (this.#ways[way] ?? Promise.resolve([]));
      for (const name of names) {
        const directory = await mkdtemp(join(this.#work, "get-"));
        const { code, output } = await run(["apt-get", ...options, "download", name], { cwd: directory });
        said = output;
        if (code !== 0) continue;
        for (const file of await readdir(directory)) {
          const unpacked = await run(["dpkg-deb", "-x", join(directory, file), tree], {});
          if (unpacked.code !== 0) throw new Error(`${basename(file)} cannot be unpacked: ${unpacked.output.trim()}`);
        }
        return;
      }
    }
    throw new Error(`${names.join(" or ")} cannot be had: ${said.trim().split("\n").at(-1) ?? ""}`);
  }

  /** The machine's sources read anew, then its backports beside them. */
  async #lists(way: number): Promise<readonly string[]> {
    const home = await mkdtemp(join(this.#work, "lists-"));
    for (const name of ["lists/partial", "cache/archives/partial"]) await mkdir(join(home, name), { recursive: true });
    const options = ["-o", `Dir::State::lists=${home}/lists`, "-o", `Dir::Cache=${home}/cache`, "-o", "APT::Sandbox::User="];
    if (way === 2) {
      const source = await backports();
      if (source === undefined) return options;
      await writeFile(join(home, "backports.list"), source);
      options.push("-o", `Dir::Etc::SourceList=${home}/backports.list`, "-o", "Dir::Etc::SourceParts=/dev/null");
    }
    await run(["apt-get", ...options, "update"], { cwd: home });
    return options;
  }
}

/** Debian keeps newer programs for a release in a suite beside it. */
async function backports(): Promise<string | undefined> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (codename === undefined) return undefined;
  const { output } = await run(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)", "Created-By: Packages"], {});
  const main = output.split("\n").find((line) => line.split("|")[1] === codename);
  const uri = main?.split("|")[0];
  if (uri === undefined) return undefined;
  return `deb ${uri} ${codename}-backports main\n`;
}
