/**
 * A base image without a registry: what the executable needs from Debian's packages, and nothing else. Like distroless/base it has no shell, no
 * package manager, and an account `nonroot`.
 */
import { chmod, copyFile, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type DebianArch, prepareDebianTree } from "../../sandbox/mod.ts";

interface Machine {
  readonly triplet: string;
  /** The loader, and where executables look for it. */
  readonly loader: string;
  readonly interpreter: string;
}

const MACHINES: Readonly<Record<DebianArch, Machine>> = {
  amd64: { triplet: "x86_64-linux-gnu", loader: "ld-linux-x86-64.so.2", interpreter: "lib64/ld-linux-x86-64.so.2" },
  arm64: { triplet: "aarch64-linux-gnu", loader: "ld-linux-aarch64.so.1", interpreter: "lib/ld-linux-aarch64.so.1" },
};
/** The first four are the executable's own; the others are opened when names are looked up. */
const LIBRARIES = ["libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "libresolv.so.2", "libnss_dns.so.2", "libnss_files.so.2"];
const PACKAGES = ["libc6", "ca-certificates", "base-files", "netbase"];
const FILES: Readonly<Record<string, string>> = {
  "etc/passwd":
    "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
  "etc/group": "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n",
  "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n",
};
const DOCKERFILE = `FROM scratch
ADD base.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
WORKDIR /home/nonroot
`;

export interface BaseOptions {
  readonly arch: DebianArch;
  /** An empty directory: the context to build the base image from. */
  readonly directory: string;
  readonly onProgress?: (line: string) => void;
}

/** The packages, unpacked: also enough to run the executable in. */
export function prepareBaseTree(arch: DebianArch, onProgress?: (line: string) => void): Promise<string> {
  return prepareDebianTree({ name: "image-base", arch, packages: PACKAGES, ...(onProgress === undefined ? {} : { onProgress }) });
}

/** Writes a Dockerfile and what it adds. */
export async function writeBase({ arch, directory, onProgress }: BaseOptions): Promise<void> {
  const tree = await prepareBaseTree(arch, onProgress);
  const root = join(directory, "root");
  const { triplet, loader, interpreter } = MACHINES[arch];
  for (const name of [loader, ...LIBRARIES]) await copy(await libraryIn(tree, triplet, name), join(root, "lib", triplet, name), 0o755);
  await mkdir(dirname(join(root, interpreter)), { recursive: true });
  await symlink(interpreter.startsWith("lib64/") ? `../lib/${triplet}/${loader}` : `${triplet}/${loader}`, join(root, interpreter));
  for (const name of ["protocols", "services"]) await copy(join(tree, "etc", name), join(root, "etc", name), 0o644);
  await copy(join(tree, "usr/lib/os-release"), join(root, "etc/os-release"), 0o644);
  for (const [path, text] of Object.entries(FILES)) await write(join(root, path), text);
  await write(join(root, "etc/ssl/certs/ca-certificates.crt"), await bundle(join(tree, "usr/share/ca-certificates/mozilla")));
  for (const name of PACKAGES)
    await copy(join(tree, "usr/share/doc", name, "copyright"), join(root, "usr/share/doc", name, "copyright"), 0o644);
  await mkdir(join(root, "tmp"));
  await chmod(join(root, "tmp"), 0o1777);
  await mkdir(join(root, "home/nonroot"), { recursive: true });
  await chmod(join(root, "home/nonroot"), 0o700);
  const archive = join(directory, "base.tar");
  const flags = ["--numeric-owner", "--mtime=@0", "-C", root];
  await tar("--create", "--sort=name", "--owner=0", "--group=0", ...flags, `--file=${archive}`, "--exclude=./home/nonroot", ".");
  await tar("--append", "--owner=65532", "--group=65532", ...flags, `--file=${archive}`, "./home/nonroot");
  await writeFile(join(directory, "Dockerfile"), DOCKERFILE);
  await writeFile(join(directory, ".dockerignore"), "root\n");
}

/** Older releases have them in /lib, newer ones in /usr/lib. */
async function libraryIn(tree: string, triplet: string, name: string): Promise<string> {
  for (const lib of ["lib", "usr/lib"]) {
    const path = join(tree, lib, triplet, name);
    if (await Bun.file(path).exists()) return path;
  }
  throw new Error(`libc6 has no ${name}.`);
}

async function bundle(directory: string): Promise<string> {
  const names = (await readdir(directory)).filter((name) => name.endsWith(".crt")).toSorted();
  const texts = await Promise.all(names.map((name) => readFile(join(directory, name), "utf8")));
  return texts.map((text) => `${text.trimEnd()}\n`).join("");
}

async function copy(from: string, to: string, mode: number): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
  await chmod(to, mode);
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text, { mode: 0o644 });
  await chmod(path, 0o644);
}

async function tar(...args: readonly string[]): Promise<void> {
  const child = Bun.spawn(["tar", ...args], { env: { ...process.env, LC_ALL: "C" }, stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const [err, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`tar ended with ${code}: ${err.trim()}`);
}
