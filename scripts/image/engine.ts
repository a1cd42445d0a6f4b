/** What builds images: an engine that is there, or buildah from the distribution's packages, which is unpacked and not installed. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { librariesOf, prepareDebianTree } from "../../sandbox/mod.ts";

export const ENGINES = ["buildah", "podman", "docker"] as const;
export type EngineName = (typeof ENGINES)[number];

export interface BuildArguments {
  readonly context: string;
  readonly tag: string;
  readonly arch: string;
  /** Of everything inside, in seconds. */
  readonly epoch: number;
  readonly args?: Readonly<Record<string, string>>;
}

/** With a store of its own, except for Docker's: nothing of the user's is listed, changed or left behind. */
export interface Engine extends AsyncDisposable {
  readonly name: EngineName;
  build(options: BuildArguments): Promise<void>;
  /** Writes an archive that `docker load`, `podman load`, `ctr images import` and `kind load image-archive` take. */
  save(tag: string, path: string): Promise<void>;
}

export interface OpenEngineOptions {
  readonly engine?: EngineName;
  readonly onProgress?: (line: string) => void;
}

export async function openEngine({ engine, onProgress }: OpenEngineOptions = {}): Promise<Engine> {
  const name = engine ?? ENGINES.find((candidate) => Bun.which(candidate) !== null) ?? "buildah";
  const present = Bun.which(name);
  if (name === "docker") {
    if (present === null) throw new Error("There is no docker on PATH.");
    return docker(present);
  }
  if (present !== null) return ownStore(name, present, {});
  if (name === "podman") throw new Error("There is no podman on PATH; `--engine buildah` is fetched where there is none.");
  try {
    const tree = await prepareDebianTree({
      name: "buildah",
      packages: ["buildah"],
      programs: ["usr/bin/buildah"],
      ...(onProgress === undefined ? {} : { onProgress }),
    });
    return await ownStore(name, join(tree, "usr/bin/buildah"), { LD_LIBRARY_PATH: await librariesOf(tree) });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      `Images need buildah, podman or docker. There is none on PATH, and fetching buildah did not work: ${why}\nInstall one of them.`,
      { cause: error },
    );
  }
}

const CONTAINERS_CONF = `[containers]
# More than a container may ask for here is refused by the kernel, and the machine's own defaults may be more.
default_ulimits = ["nofile=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
`;

async function ownStore(name: "buildah" | "podman", program: string, env: Readonly<Record<string, string>>): Promise<Engine> {
  const home = await mkdtemp(join(tmpdir(), "transporter-image-"));
  await mkdir(join(home, "tmp"));
  const files: Readonly<Record<string, string>> = {
    "containers.conf": CONTAINERS_CONF,
    // Nothing is pulled from anywhere but what the Dockerfile's arguments name in full.
    "registries.conf": "unqualified-search-registries = []\n",
    "policy.json": JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }),
  };
  for (const [file, text] of Object.entries(files)) await writeFile(join(home, file), text);
  const own = {
    ...env,
    TMPDIR: join(home, "tmp"),
    CONTAINERS_CONF: join(home, "containers.conf"),
    CONTAINERS_REGISTRIES_CONF: join(home, "registries.conf"),
  };
  const policy = ["--signature-policy", join(home, "policy.json")];
  // The plainest store works on every file system, nested in containers too.
  const store = ["--root", join(home, "store"), "--runroot", join(home, "run"), "--storage-driver", "vfs"];
  return {
    name,
    build: async ({ context, tag, arch, epoch, args = {} }) => {
      const given = Object.entries(args).flatMap(([key, value]) => ["--build-arg", `${key}=${value}`]);
      await run(
        [
          program,
          ...store,
          "build",
          ...policy,
          "--isolation",
          "chroot",
          "--platform",
          `linux/${arch}`,
          "--timestamp",
          String(epoch),
          "--format",
          "oci",
          ...given,
          "-t",
          tag,
          context,
        ],
        own,
      );
    },
    save: async (tag, path) => {
      await rm(path, { force: true });
      await run([program, ...store, "push", ...policy, tag, `docker-archive:${path}:${tag}`], own);
    },
    [Symbol.asyncDispose]: () => rm(home, { recursive: true, force: true }),
  };
}

function docker(program: string): Engine {
  return {
    name: "docker",
    build: async ({ context, tag, arch, epoch, args = {} }) => {
      const given = Object.entries({ ...args, SOURCE_DATE_EPOCH: String(epoch) }).flatMap(([key, value]) => [
        "--build-arg",
        `${key}=${value}`,
      ]);
      await run([program, "build", "--platform", `linux/${arch}`, "--provenance=false", ...given, "-t", tag, context], {});
    },
    save: (tag, path) => run([program, "save", "-o", path, tag], {}),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function run(command: readonly string[], env: Readonly<Record<string, string>>): Promise<void> {
  const child = Bun.spawn([...command], { env: { ...process.env, ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}:\n${out}${err}`.trim());
}
