import { existsSync } from "node:fs";
import { cp, mkdir, open } from "node:fs/promises";
import { join, resolve } from "node:path";
import { describe, expect, test } from "bun:test";
import { hasDebianPackages, prepareDebianTree } from "../../sandbox/mod.ts";
import { writeChecksums } from "../../scripts/build-all.ts";
import { compile, fileName, TARGETS } from "../../scripts/build-target.ts";
import { prepareBaseTree } from "../../scripts/image/base.ts";
import { temporaryDirectory } from "../support/cli.ts";
import { PROVE } from "../support/prove.ts";

const ROOT = resolve(import.meta.dir, "../..");
/** What each kind of executable begins with, and its machine: e_machine of ELF, cputype of Mach-O, Machine of PE. */
const KINDS: Readonly<Record<string, { readonly magic: string; readonly machine: number }>> = {
  "linux-amd64": { magic: "7f454c46", machine: 0x3e },
  "linux-arm64": { magic: "7f454c46", machine: 0xb7 },
  "darwin-amd64": { magic: "cffaedfe", machine: 0x01_00_00_07 },
  "darwin-arm64": { magic: "cffaedfe", machine: 0x01_00_00_0c },
  "windows-amd64": { magic: "4d5a", machine: 0x86_64 },
};

interface Header {
  readonly magic: string;
  readonly machine: number;
  /** The loader that an ELF file asks for. */
  readonly loader: string;
}

async function headerOf(path: string): Promise<Header> {
  await using file = await open(path);
  const bytes = Buffer.alloc(64 * 1024);
  await file.read(bytes, 0, bytes.length, 0);
  const first = bytes.toString("hex", 0, 4);
  if (first === "7f454c46") {
    const loader = /\/lib(?:64)?\/ld-[\w.-]+/.exec(bytes.toString("latin1"))?.[0] ?? "";
    return { magic: first, machine: bytes.readUInt16LE(18), loader };
  }
  if (first === "cffaedfe") return { magic: first, machine: bytes.readUInt32LE(4), loader: "" };
  const pe = bytes.readUInt32LE(0x3c);
  expect(bytes.toString("latin1", pe, pe + 4)).toBe("PE\0\0");
  return { magic: first.slice(0, 4), machine: bytes.readUInt16LE(pe + 4), loader: "" };
}

async function hashOf(path: string): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256");
  for await (const chunk of Bun.file(path).stream()) hash.update(chunk);
  return hash.digest("hex");
}

/** Directories of node_modules that are bundled, or needed by one that is: all but the tools, which are large. */
async function packagesInside(): Promise<string[]> {
  const lock = /^\s+"([^"]+)": \["/gm;
  const names = new Set([...(await Bun.file(join(ROOT, "bun.lock")).text()).matchAll(lock)].map(([, name = ""]) => name));
  const tools = /^(@ox|ox|typescript|@typescript|knip|rust-just|bun-types|recheck|fast-check)/;
  return [...names].filter(
    (name) =>
      !tools.test(name) &&
      existsSync(join(ROOT, "node_modules", name)) &&
      !name.slice(name.startsWith("@") ? name.indexOf("/") + 1 : 0).includes("/"),
  );
}

/** The sources in another directory, with the same packages. */
async function copyOf(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  for (const name of ["bin", "src", "package.json", "bun.lock", "tsconfig.json"])
    await cp(join(ROOT, name), join(directory, name), { recursive: true });
  for (const name of await packagesInside())
    await cp(join(ROOT, "node_modules", name), join(directory, "node_modules", name), { recursive: true });
  return directory;
}

describe("what is compiled", () => {
  test("is the same bytes from another directory, under another name, and holds the path of neither", async () => {
    await using files = await temporaryDirectory();
    // Packages are bundled by where they are found, so that a link to the same ones would prove less than it seems to.
    const elsewhere = await copyOf(join(files.path, "some", "where else"));
    const [one, two] = [join(files.path, "a", "transporter"), join(files.path, "b", "another-name")];
    await compile({ outfile: one, commit: "0123456789ab", root: await copyOf(join(files.path, "first")) });
    await compile({ outfile: two, commit: "0123456789ab", root: elsewhere });
    expect(await hashOf(two)).toBe(await hashOf(one));
    const bytes = Buffer.from(await Bun.file(one).arrayBuffer());
    expect(bytes.includes(files.path)).toBe(false);
    expect(bytes.includes(ROOT)).toBe(false);
    expect(bytes.includes("another-name")).toBe(false);
    await compile({ outfile: two, commit: "ba9876543210", root: elsewhere });
    expect(await hashOf(two)).not.toBe(await hashOf(one));
  }, 180_000);

  test("for arm64 is an executable of it, which says its version where that can be emulated", async () => {
    await using files = await temporaryDirectory();
    const outfile = join(files.path, fileName("linux-arm64"));
    await compile({ outfile, commit: "0123456789ab", target: TARGETS["linux-arm64"] ?? "" });
    expect(await headerOf(outfile)).toEqual({ ...KINDS["linux-arm64"], loader: "/lib/ld-linux-aarch64.so.1" } as Header);
    if (process.arch !== "x64" || !hasDebianPackages()) return;
    const qemu = await prepareDebianTree({ name: "qemu-user", packages: ["qemu-user-static"], programs: ["usr/bin/qemu-aarch64-static"] });
    const base = await prepareBaseTree("arm64");
    const child = Bun.spawn([join(qemu, "usr/bin/qemu-aarch64-static"), "-L", base, outfile, "version", "-o", "json"], {
      env: { HOME: files.path },
      stdout: "pipe",
      stderr: "pipe",
    });
    const said = JSON.parse(await child.stdout.text());
    expect(said).toMatchObject({ client: { commit: "0123456789ab", platform: "linux-arm64", bun: Bun.version } });
    expect(await child.exited).toBe(0);
  }, 240_000);

  test.skipIf(!PROVE)(
    "for every other machine is an executable of it, twice the same",
    async () => {
      await using files = await temporaryDirectory();
      for (const [name, target] of Object.entries(TARGETS)) {
        const [one, two] = [join(files.path, fileName(name)), join(files.path, "again", fileName(name))];
        for (const outfile of [one, two]) await compile({ outfile, commit: "0123456789ab", target });
        expect(await hashOf(two)).toBe(await hashOf(one));
        const { magic, machine, loader } = await headerOf(one);
        expect({ name, magic, machine }).toEqual({ name, ...KINDS[name.replace(/-musl$/, "")] } as {
          name: string;
          magic: string;
          machine: number;
        });
        if (name.startsWith("linux-")) expect(loader.includes("musl")).toBe(name.endsWith("-musl"));
      }
    },
    900_000,
  );
});

test("SHA256SUMS is what sha256sum checks", async () => {
  await using files = await temporaryDirectory();
  await files.file("transporter-linux-amd64", "one");
  await files.file("transporter-windows-amd64.exe", "two");
  await files.file("else", "three");
  const path = await writeChecksums(files.path);
  const lines = (await Bun.file(path).text()).split("\n");
  expect(lines).toEqual([
    `${new Bun.CryptoHasher("sha256").update("one").digest("hex")}  transporter-linux-amd64`,
    `${new Bun.CryptoHasher("sha256").update("two").digest("hex")}  transporter-windows-amd64.exe`,
    "",
  ]);
});
