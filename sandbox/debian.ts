import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { isExecutable, runToEnd } from "./program.ts";

/** As Debian names machines. */
export type DebianArch = "amd64" | "arm64";

/**
 * Packages of Debian or Ubuntu, unpacked into one directory of the cache. Nothing is installed, no root is needed, none of the packages'
 * scripts runs; apt checks what it gets as it always does.
 */
export interface DebianTreeOptions {
  /** Of the directory in the cache; another list of packages needs another name. */
  readonly name: string;
  /** One name each, or several of which the first that can be had is taken. */
  readonly packages: readonly (string | readonly string[])[];
  /** Paths inside the tree that must be executable in the end, with every library they need; several where releases differ. */
  readonly programs?: readonly (string | readonly string[])[];
  /** Packages of libraries that are not named as their package is. */
  readonly libraries?: Readonly<Record<string, readonly string[]>>;
  /** Of another machine; then no libraries are looked for, since only this machine's loader could say which. */
  readonly arch?: DebianArch;
  /** What else must hold of a tree, found or new. */
  readonly accept?: (tree: string) => Promise<boolean>;
  /** Receives one line at a time for people; called only when there is something to wait for. */
  readonly onProgress?: (line: string) => void;
}

const HOST_ARCH: DebianArch = process.arch === "arm64" ? "arm64" : "amd64";
const LIBRARY_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "libglib-2.0.so.0": ["libglib2.0-0t64", "libglib2.0-0"],
  "libssl.so.3": ["libssl3t64", "libssl3"],
  "libcrypto.so.3": ["libssl3t64", "libssl3"],
};

/** Whether packages can be fetched and unpacked here. */
export function hasDebianPackages(): boolean {
  return process.platform === "linux" && Bun.which("apt-get") !== null && Bun.which("dpkg-deb") !== null;
}

/** Where the sandbox keeps what it fetched or built. */
export function sandboxCache(): string {
  const xdg = process.env["XDG_CACHE_HOME"];
  return join(xdg !== undefined && xdg.startsWith("/") ? xdg : join(homedir(), ".cache"), "transporter", "sandbox");
}

/** Where a tree is, or will be. */
export function debianTreePath({ name, arch }: Pick<DebianTreeOptions, "name" | "arch">): string {
  return join(sandboxCache(), `${name}-${process.platform}-${(arch ?? HOST_ARCH) === "amd64" ? "x64" : "arm64"}`);
}

/** The tree, where it is there already. */
export async function findDebianTree(options: DebianTreeOptions): Promise<string | undefined> {
  const tree = debianTreePath(options);
  return (await isWhole(tree, options)) ? tree : undefined;
}

/** Finds the tree, or fetches and unpacks it. Throws with the reason when that does not work. */
export async function prepareDebianTree(options: DebianTreeOptions): Promise<string> {
  const present = await findDebianTree(options);
  if (present !== undefined) return present;
  if (!hasDebianPackages()) throw new Error("only on Debian and Ubuntu it can be fetched without root.");
  options.onProgress?.(`Fetching ${options.name} from this distribution's packages, once, without installing it.`);
  const tree = debianTreePath(options);
  await mkdir(join(tree, ".."), { recursive: true });
  const partial = await mkdtemp(`${tree}-partial-`);
  try {
    await unpackAll(options, partial);
    if (!(await isWhole(partial, options))) throw new Error("what the packages hold does not run, or is too old.");
    await rename(partial, tree).catch(async (error: unknown) => {
      // Another process was quicker, and its is as good.
      if (!(await isWhole(tree, options))) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  return tree;
}

/** For LD_LIBRARY_PATH of a program inside the tree. */
export async function librariesOf(tree: string): Promise<string> {
  const triplets = await readdir(join(tree, "usr/lib")).catch(() => []);
  return ["usr/lib", ...triplets.filter((name) => name.includes("-linux-")).flatMap((name) => [`usr/lib/${name}`, `lib/${name}`])]
    .map((path) => join(tree, path))
    .join(":");
}

/** The first of these paths that is executable in the tree. */
export async function programIn(tree: string, paths: string | readonly string[]): Promise<string | undefined> {
  for (const path of typeof paths === "string" ? [paths] : paths) {
    const program = join(tree, path);
    if (await isExecutable(program)) return program;
  }
  return undefined;
}

async function isWhole(tree: string, { programs = [], accept }: DebianTreeOptions): Promise<boolean> {
  for (const paths of ["", ...programs]) if ((await programIn(tree, paths)) === undefined) return false;
  return accept === undefined || (await accept(tree));
}

async function unpackAll(options: DebianTreeOptions, tree: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "transporter-packages-"));
  try {
    const fetcher = new Packages(work, options.arch ?? HOST_ARCH);
    for (const names of options.packages) await fetcher.unpack(typeof names === "string" ? [names] : names, tree);
    if ((options.arch ?? HOST_ARCH) !== HOST_ARCH) return;
    const tried = new Set<string>();
    for (const paths of options.programs ?? []) {
      const program = await programIn(tree, paths);
      if (program === undefined) continue;
      // A library that was found may need others.
      for (let rounds = 0; rounds < 8; rounds += 1) {
        const { output } = await runToEnd(["ldd", program], { env: { LD_LIBRARY_PATH: await librariesOf(tree) } });
        const absent = [...output.matchAll(/^\s*(\S+) => not found$/gm)].map(([, name = ""]) => name);
        if (absent.length === 0) break;
        for (const library of absent) {
          if (tried.has(library)) throw new Error(`no package was found that has ${library}.`);
          tried.add(library);
          await fetcher.unpack({ ...LIBRARY_PACKAGES, ...options.libraries }[library] ?? namesOf(library), tree);
        }
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
  readonly #arch: DebianArch;
  readonly #ways: Promise<readonly string[]>[];

  constructor(work: string, arch: DebianArch) {
    this.#work = work;
    this.#arch = arch;
    // The machine's own lists do not know another machine's packages.
    this.#ways = arch === HOST_ARCH ? [Promise.resolve([])] : [];
  }

  async unpack(names: readonly string[], tree: string): Promise<void> {
    let said = "";
    for (let way = this.#arch === HOST_ARCH ? 0 : 1; way < 3; way += 1) {
      this.#ways[way] ??= this.#lists(way);
      const options = await (this.#ways[way] ?? Promise.resolve([]));
      for (const name of names) {
        const directory = await mkdtemp(join(this.#work, "get-"));
        const { code, output } = await runToEnd(["apt-get", ...options, "download", name], { cwd: directory });
        said = output;
        if (code !== 0) continue;
        for (const file of await readdir(directory)) {
          const unpacked = await runToEnd(["dpkg-deb", "-x", join(directory, file), tree], {});
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
    if (this.#arch !== HOST_ARCH) {
      // What this machine has installed must not be held against packages of another.
      await writeFile(join(home, "status"), "");
      const wanted = ["-o", `APT::Architecture=${this.#arch}`, "-o", `APT::Architectures=${this.#arch}`];
      options.push(...wanted, "-o", `Dir::State::status=${home}/status`);
    }
    if (way === 2) {
      const source = await backports();
      if (source === undefined) return options;
      await writeFile(join(home, "backports.list"), source);
      options.push("-o", `Dir::Etc::SourceList=${home}/backports.list`, "-o", "Dir::Etc::SourceParts=/dev/null");
    }
    await runToEnd(["apt-get", ...options, "update"], { cwd: home });
    return options;
  }
}

/** Debian keeps newer programs for a release in a suite beside it. */
async function backports(): Promise<string | undefined> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  const codename = /^VERSION_CODENAME=(\w+)$/m.exec(release)?.[1];
  if (codename === undefined) return undefined;
  const { output } = await runToEnd(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)", "Created-By: Packages"], {});
  const main = output.split("\n").find((line) => line.split("|")[1] === codename);
  const uri = main?.split("|")[0];
  if (uri === undefined) return undefined;
  return `deb ${uri} ${codename}-backports main\n`;
}
