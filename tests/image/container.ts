import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { librariesOf, prepareDebianTree, Watchdog } from "../../sandbox/mod.ts";
import { type ImageArchive, readArchive } from "../../scripts/image/archive.ts";
import { type BuiltImage, buildImage } from "../../scripts/image/build-image.ts";
import { eventually } from "../support/eventually.ts";
import { EXECUTABLE_PATH } from "../support/process.ts";

/** The image built here, unpacked, and what runs it. */
export interface ImageRoom extends AsyncDisposable {
  readonly built: BuiltImage;
  readonly archive: ImageArchive;
  readonly directory: string;
  /** Runs it to its end. */
  run(options: ContainerOptions): Promise<Ended>;
  /** Leaves it running. */
  start(options: ContainerOptions): Promise<Container>;
}

export interface ContainerOptions {
  /** After the image's entrypoint. */
  readonly args: readonly string[];
  readonly uid?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly memoryBytes?: number;
  /** Paths inside that can be written, each an empty directory of its own outside the container. */
  readonly writable?: readonly string[];
  /** Files by their path inside; executable, and not to be changed. */
  readonly files?: Readonly<Record<string, string>>;
}

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Container extends AsyncDisposable {
  /** Of process 1, as this machine numbers it. */
  readonly pid: number;
  readonly exited: Promise<number>;
  stderr(): string;
  /** Waits for a line on standard error. */
  line(pattern: RegExp): Promise<RegExpExecArray>;
  /** Signals process 1. */
  signal(name: NodeJS.Signals): void;
  /** Runs a further program inside, as a kubelet's probe does. */
  exec(args: readonly string[]): Promise<Ended>;
  /** Bytes of the container's memory cgroup, page cache included; `peak` since its start. Undefined where this machine does not tell. */
  memory(): Promise<{ readonly anonymous: number; readonly peak: number; readonly kills: number } | undefined>;
}

let watchdog: Watchdog | undefined;

export async function openImageRoom({ compressed = false }: { readonly compressed?: boolean } = {}): Promise<ImageRoom> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-image-test-"));
  const runc = await runcCommand(join(directory, "runc"));
  const dispose = (): Promise<void> => rm(directory, { recursive: true, force: true });
  try {
    const archivePath = join(directory, "image.tar");
    const built = await buildImage({ tag: "localhost/transporter:tested", executable: EXECUTABLE_PATH, archivePath, compressed });
    const archive = await readArchive(archivePath);
    const root = join(directory, "root");
    await mkdir(root);
    for (const [at, layer] of archive.layers.entries()) {
      const path = join(directory, `layer-${at}.tar`);
      await Bun.write(path, layer);
      const { code, stderr } = await finished(["tar", "-xpf", path, "--numeric-owner", "-C", root]);
      if (code !== 0) throw new Error(stderr);
      await rm(path);
    }
    await rm(archivePath);
    const bundles = { root, directory, archive, runc };
    return {
      built,
      archive,
      directory,
      run: async (options) => {
        await using bundle = await writeBundle(bundles, options);
        return await finished([...runc.command, "run", "--bundle", bundle.path, bundle.id], runc.env);
      },
      start: (options) => startContainer(bundles, options),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

interface Runc {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

async function runcCommand(state: string): Promise<Runc> {
  const present = Bun.which("runc");
  if (present !== null) return { command: [present, "--root", state], env: {} };
  const tree = await prepareDebianTree({ name: "runc", packages: ["runc"], programs: ["usr/sbin/runc"] });
  return {
    command: [join(tree, "usr/sbin/runc"), "--root", state],
    env: { LD_LIBRARY_PATH: await librariesOf(tree) },
  };
}

interface Bundles {
  readonly root: string;
  readonly directory: string;
  readonly archive: ImageArchive;
  readonly runc: Runc;
}

let count = 0;

interface Bundle extends AsyncDisposable {
  readonly id: string;
  readonly path: string;
}

/** As strictly as the charts run it: nothing of it can be written, no capability, no way to more. The network is this machine's. */
async function writeBundle(room: Bundles, options: ContainerOptions): Promise<Bundle> {
  count += 1;
  const id = `transporter-image-${process.pid}-${count}`;
  const path = join(room.directory, id);
  await mkdir(path);
  const uid = options.uid ?? 65_532;
  const mounts: object[] = [
    { destination: "/proc", type: "proc", source: "proc" },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=64k"] },
  ];
  for (const inside of options.writable ?? []) {
    const source = join(path, inside.replaceAll("/", "_"));
    await mkdir(source, { mode: 0o777 });
    await finished(["chown", String(uid), source]);
    mounts.push({ destination: inside, type: "bind", source, options: ["bind", "rw"] });
  }
  for (const [inside, text] of Object.entries(options.files ?? {})) {
    const source = join(path, inside.replaceAll("/", "_"));
    await writeFile(source, text, { mode: 0o755 });
    mounts.push({ destination: inside, type: "bind", source, options: ["bind", "ro"] });
  }
  const config = {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid, gid: 0 },
      args: [...room.archive.config.config.Entrypoint, ...options.args],
      env: Object.entries({ PATH: "/usr/bin:/bin", ...options.env }).map(([name, value]) => `${name}=${value}`),
      cwd: room.archive.config.config.WorkingDir ?? "/",
      capabilities: { bounding: [], effective: [], permitted: [] },
      noNewPrivileges: true,
    },
    root: { path: room.root, readonly: true },
    mounts,
    linux: {
      cgroupsPath: `/transporter-image-test/${id}`,
      namespaces: ["pid", "ipc", "uts", "mount"].map((type) => ({ type })),
      ...(options.memoryBytes === undefined ? {} : { resources: { memory: { limit: options.memoryBytes, swap: options.memoryBytes } } }),
      maskedPaths: ["/proc/kcore", "/proc/keys"],
    },
  };
  await writeFile(join(path, "config.json"), JSON.stringify(config));
  return {
    id,
    path,
    [Symbol.asyncDispose]: async () => {
      await finished([...room.runc.command, "delete", "--force", id], room.runc.env);
      await rm(path, { recursive: true, force: true });
    },
  };
}

async function startContainer(room: Bundles, options: ContainerOptions): Promise<Container> {
  const bundle = await writeBundle(room, options);
  const { command, env } = room.runc;
  const child = Bun.spawn([...command, "run", "--bundle", bundle.path, "--pid-file", join(bundle.path, "pid"), bundle.id], {
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  watchdog ??= new Watchdog();
  let text = "";
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) text += decoder.decode(chunk, { stream: true });
  };
  const done = read().catch(() => undefined);
  const pid = await eventually(
    async () => {
      if (child.exitCode !== null) throw new Error(text);
      return Number(await readFile(join(bundle.path, "pid"), "utf8"));
    },
    { timeoutMs: 20_000, what: "a container" },
  );
  watchdog.add(pid);
  const exited = Promise.all([child.exited, done]).then(([code]) => code);
  void exited.then(() => watchdog?.drop(pid));
  return {
    pid,
    exited,
    stderr: () => text,
    line: (pattern) =>
      eventually(() => pattern.exec(text), { timeoutMs: 30_000, what: `a line that matches ${pattern}` }).catch((error: unknown) => {
        throw new Error(`${error instanceof Error ? error.message : String(error)}\n${text}`);
      }),
    signal: (name) => void process.kill(pid, name),
    exec: (args) => finished([...command, "exec", bundle.id, ...args], env),
    memory: () => memoryOf(bundle.id),
    async [Symbol.asyncDispose]() {
      await bundle[Symbol.asyncDispose]();
      // runc tidies up as well, when what it ran has ended.
      await exited;
    },
  };
}

async function memoryOf(id: string): Promise<{ readonly anonymous: number; readonly peak: number; readonly kills: number } | undefined> {
  const below = `transporter-image-test/${id}`;
  const read = (path: string): Promise<string | undefined> => readFile(path, "utf8").catch(() => undefined);
  const number = (text: string | undefined, pattern: RegExp): number => Number(pattern.exec(text ?? "")?.[1] ?? 0);
  const old = await read(`/sys/fs/cgroup/memory/${below}/memory.stat`);
  if (old !== undefined)
    return {
      anonymous: number(old, /^rss (\d+)$/m),
      peak: Number(await read(`/sys/fs/cgroup/memory/${below}/memory.max_usage_in_bytes`)),
      kills: number(await read(`/sys/fs/cgroup/memory/${below}/memory.oom_control`), /^oom_kill (\d+)$/m),
    };
  const unified = await read(`/sys/fs/cgroup/${below}/memory.stat`);
  if (unified === undefined) return undefined;
  return {
    anonymous: number(unified, /^anon (\d+)$/m),
    peak: Number(await read(`/sys/fs/cgroup/${below}/memory.peak`)),
    kills: number(await read(`/sys/fs/cgroup/${below}/memory.events`), /^oom_kill (\d+)$/m),
  };
}

async function finished(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const child = Bun.spawn([...command], { env: { ...process.env, ...env }, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}
