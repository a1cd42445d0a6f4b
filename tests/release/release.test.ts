import { mkdir, mkdtemp, readdir, readFile, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeBundle } from "../../scripts/release/bundle.ts";
import { notesOf, sectionsOf } from "../../scripts/release/changelog.ts";
import { MANIFEST, readManifest, readSums, sha256Of, SUMS, writeSums } from "../../scripts/release/manifest.ts";
import { packRelease, type ReleaseParts } from "../../scripts/release/pack.ts";
import { type TarEntry, writeTar } from "../../scripts/release/tar.ts";
import { faultsOf, hostPlatform } from "../../scripts/release/verify.ts";
import { agreedVersion, CHARTS, REPOSITORY, statedVersions, versionOf } from "../../scripts/release/versions.ts";
import { readText } from "../docs/markdown.ts";

let base: string;
let version: string;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), "transporter-release-test-"));
  version = await versionOf();
});
afterAll(() => rm(base, { recursive: true, force: true }));

let made = 0;
async function fresh(): Promise<string> {
  made += 1;
  const directory = join(base, String(made));
  await mkdir(directory);
  return directory;
}

const AT = 1_700_000_000;
const COMMIT = "0123456789ab";

/** Small stand-ins with the form of the real parts; the platform is not this machine's, so that nothing of it is run. */
async function parts(replaced: Partial<ReleaseParts> = {}): Promise<ReleaseParts> {
  const directory = await fresh();
  const program = join(directory, "program");
  await Bun.write(program, "MZ, or so");
  const image = join(directory, "image.tar");
  await writeTar(image, [{ name: "index.json", content: { text: "{}" } }], { atSeconds: AT, gzip: false });
  const sbom = join(directory, "bill.json");
  await Bun.write(sbom, JSON.stringify({ bomFormat: "CycloneDX", components: [{ name: "valibot" }] }));
  const charts = await Promise.all(
    CHARTS.map(async (chart) => {
      const path = join(directory, `${chart}-${version}.tgz`);
      const text = `name: ${chart}\nversion: ${version}\nappVersion: "${version}"\n`;
      await writeTar(path, [{ name: `${chart}/Chart.yaml`, content: { text } }], { atSeconds: AT, gzip: true });
      return path;
    }),
  );
  return {
    version,
    commit: COMMIT,
    atSeconds: AT,
    executables: new Map([["windows-mips", program]]),
    images: new Map([["linux-mips", image]]),
    charts,
    sbom,
    notes: "### Added\n\n- Something.\n",
    ...replaced,
  };
}

async function faults(directory: string): Promise<string[]> {
  return faultsOf(directory, await fresh());
}

describe("an archive", () => {
  const entries = (paths: readonly string[]): TarEntry[] =>
    paths.map((path, at) => ({ name: `below/${at}`, executable: at === 1, content: { path } }));

  test("has the same bytes for the same contents, whatever the files' times and the order they come in", async () => {
    const directory = await fresh();
    const paths = [0, 1, 2].map((at) => join(directory, `file-${at}`));
    for (const [at, path] of paths.entries()) await Bun.write(path, `${at}`.repeat(1000 * at + 1));
    const first = join(directory, "first.tar.gz");
    const second = join(directory, "second.tar.gz");
    await writeTar(first, entries(paths), { atSeconds: AT, gzip: true });
    for (const path of paths) await utimes(path, 1, 1);
    await writeTar(second, entries(paths).toReversed(), { atSeconds: AT, gzip: true });
    expect(await sha256Of(second)).toBe(await sha256Of(first));
    await writeTar(second, entries(paths), { atSeconds: AT + 1, gzip: true });
    expect(await sha256Of(second)).not.toBe(await sha256Of(first));
  });

  test("is read by the system's tar, modes and times included", async () => {
    const directory = await fresh();
    const path = join(directory, "a.tar.gz");
    const text = "x".repeat(513);
    await Bun.write(join(directory, "program"), text);
    const program = { name: "b", executable: true, content: { path: join(directory, "program") } };
    await writeTar(path, [program, { name: "a/b", content: { text: "ü" } }], { atSeconds: AT, gzip: true });
    const list = Bun.spawnSync(["tar", "--utc", "-tvzf", path]).stdout.toString().split("\n");
    expect(list.slice(0, 2).map((line) => line.replaceAll(/\s+/g, " "))).toEqual([
      expect.stringMatching(/^-rw-r--r-- .*0 2 2023-11-14 22:13(:20)? a\/b$/),
      expect.stringMatching(/^-rwxr-xr-x .*0 513 2023-11-14 22:13(:20)? b$/),
    ]);
    expect(Bun.spawnSync(["tar", "-xzOf", path, "b"]).stdout.toString()).toBe(text);
  });

  test("refuses names that lead elsewhere, twice, or beyond what the form holds", async () => {
    const path = join(await fresh(), "x.tar");
    for (const name of ["/etc/passwd", "a/../b", "a b", "", "x".repeat(101), "ü"])
      await expect(writeTar(path, [{ name, content: { text: "" } }], { atSeconds: AT, gzip: false })).rejects.toThrow("cannot be a name");
    const twice = ["a", "a"].map((name) => ({ name, content: { text: "" } }));
    await expect(writeTar(path, twice, { atSeconds: AT, gzip: false })).rejects.toThrow("twice");
  });
});

describe("a release", () => {
  test("says what is in it, is made of the same bytes twice, and is found whole", async () => {
    const given = await parts();
    const one = await fresh();
    const two = await fresh();
    await packRelease(one, given);
    await packRelease(two, given);
    expect(await readFile(join(one, SUMS), "utf8")).toBe(await readFile(join(two, SUMS), "utf8"));
    const manifest = readManifest(await readFile(join(one, MANIFEST), "utf8"));
    expect(manifest).toMatchObject({ version, commit: given.commit, created: "2023-11-14T22:13:20.000Z" });
    expect(manifest.artifacts.map(({ kind, name, platform }) => [kind, name, platform])).toEqual([
      ["executable", `transporter-${version}-windows-mips.tar.gz`, "windows-mips"],
      ["image", `transporter-${version}-image-linux-mips.tar`, "linux-mips"],
      ["chart", `transporter-cp-${version}.tgz`, undefined],
      ["chart", `transporter-agent-${version}.tgz`, undefined],
      ["sbom", "transporter.cdx.json", undefined],
      ["notes", "RELEASE-NOTES.md", undefined],
    ]);
    expect(await faults(one)).toEqual([]);
    const check = Bun.spawnSync(["sha256sum", "--check", "--strict", SUMS], { cwd: one });
    expect({ code: check.exitCode, lines: check.stdout.toString().trim().split("\n").length }).toEqual({ code: 0, lines: 7 });
    // Made again in the same place, with less in it: nothing of the first stays.
    await packRelease(one, { ...given, images: new Map() });
    expect(await faults(one)).toEqual([]);
    expect((await readdir(one)).some((name) => name.includes("image"))).toBe(false);
  });

  test("is not made over files of somebody", async () => {
    const directory = await fresh();
    await Bun.write(join(directory, "thesis.txt"), "years");
    await expect(packRelease(directory, await parts())).rejects.toThrow("is not a release");
    expect(await readdir(directory)).toEqual(["thesis.txt"]);
  });

  const image = (): string => `transporter-${version}-image-linux-mips.tar`;
  const chart = (): string => `transporter-cp-${version}.tgz`;
  const DAMAGES: readonly (readonly [string, (directory: string) => Promise<unknown>, () => readonly string[]])[] = [
    [
      "a byte differs",
      (at) => Bun.write(join(at, "RELEASE-NOTES.md"), "### Added\n\n- Somethinh.\n"),
      () => ["RELEASE-NOTES.md is not what SHA256SUMS says"],
    ],
    [
      "a file is missing",
      (at) => rm(join(at, image())),
      () => [`${image()} is missing`, `${image()} is missing, and release.json names it`],
    ],
    ["a file is too many", (at) => Bun.write(join(at, "more"), "x"), () => ["more is not in SHA256SUMS", "more is not in release.json"]],
    ["there are no sums", (at) => rm(join(at, SUMS)), () => ["SHA256SUMS is missing"]],
    [
      "a chart was exchanged, with its sum",
      async (at) => {
        await Bun.write(join(at, chart()), "x");
        await writeSums(at);
      },
      () => [`release.json and SHA256SUMS differ about ${chart()}`, `${chart()} does not have the size that release.json says`],
    ],
  ];
  for (const [what, damage, expected] of DAMAGES)
    test(`is found broken when ${what}`, async () => {
      const directory = await fresh();
      await packRelease(directory, await parts());
      await damage(directory);
      expect(await faults(directory)).toEqual([...expected()]);
    });

  test("is found broken when what it holds is not what it is called", async () => {
    const directory = await fresh();
    const wrong = join(await fresh(), chart());
    const text = `version: 9.9.9\nappVersion: "${version}"\n`;
    await writeTar(wrong, [{ name: "transporter-cp/Chart.yaml", content: { text } }], { atSeconds: AT, gzip: true });
    const plain = join(await fresh(), "plain");
    await Bun.write(plain, "no archive");
    const given = await parts({ charts: [wrong], images: new Map([["linux-mips", plain]]), sbom: join(await fresh(), "bill.json") });
    await Bun.write(given.sbom ?? "", "{}");
    await packRelease(directory, given);
    expect(await faults(directory)).toEqual([
      expect.stringContaining(image()),
      `${chart()} says version 9.9.9 and the release is ${version}`,
      `transporter.cdx.json is no bill of materials in CycloneDX`,
    ]);
  });

  test("runs the executable of this machine, which says another version", async () => {
    const host = hostPlatform();
    if (host === undefined) return;
    const program = join(await fresh(), "program");
    const answer = JSON.stringify({ client: { version: "9.9.9", commit: "0" } });
    await Bun.write(program, `#!/bin/sh\necho '${answer}'\n`, { mode: 0o755 });
    const directory = await fresh();
    await packRelease(directory, await parts({ executables: new Map([[host, program]]) }));
    expect(await faults(directory)).toEqual([
      `transporter-${version}-${host}.tar.gz calls itself 9.9.9 and the release is ${version}`,
      `transporter-${version}-${host}.tar.gz was made from 0 and the release from ${COMMIT}`,
    ]);
  });

  test("for a site without internet is one tar with everything, and refused where something lacks", async () => {
    const directory = await fresh();
    const given = await parts();
    await packRelease(directory, given);
    const [one, two] = [join(base, "one.tar"), join(base, "two.tar")];
    await writeBundle(directory, one);
    await writeBundle(directory, two);
    expect(await sha256Of(two)).toBe(await sha256Of(one));
    const below = await fresh();
    expect(Bun.spawnSync(["tar", "-xf", one, "-C", below]).exitCode).toBe(0);
    const unpacked = join(below, `transporter-${version}-airgapped`);
    for (const name of [...(await readdir(directory)), "README.md", "values-cp.yaml", "values-agent.yaml"])
      expect(await readdir(unpacked)).toContain(name);
    // As its README says to check it.
    expect(Bun.spawnSync(["sha256sum", "--check", "--quiet", SUMS], { cwd: unpacked }).exitCode).toBe(0);
    const readme = await readFile(join(unpacked, "README.md"), "utf8");
    for (const name of readme.replaceAll("PLATFORM.tar.gz", "").match(/transporter-[\w.-]+\.(?:tgz|tar)/g) ?? [])
      expect(await readdir(unpacked)).toContain(name);
    await packRelease(directory, { ...given, images: new Map(), charts: given.charts.slice(0, 1) });
    await expect(writeBundle(directory, one)).rejects.toThrow("no archive of the image, no chart transporter-agent");
  });
});

describe("sums and manifest", () => {
  test("are refused where they are not what they should be", () => {
    const sum = "a".repeat(64);
    expect(readSums(`${sum}  a\n${sum} *b\n`)).toEqual(
      new Map([
        ["a", sum],
        ["b", sum],
      ]),
    );
    for (const bad of [`${sum} a\n`, `${sum}  ../a\n`, "x  a\n", `${sum}  a\n${sum}  a\n`]) expect(() => readSums(bad)).toThrow(SUMS);
    const good = { format: "transporter.dev/release/v1", version: "1.0.0", commit: "c", created: "2023-11-14T22:13:20.000Z", image: "i" };
    const artifact = { name: "a", kind: "chart", bytes: 1, sha256: sum };
    expect(readManifest(JSON.stringify({ ...good, artifacts: [artifact], later: true }))).toMatchObject({ artifacts: [artifact] });
    for (const artifacts of [
      [],
      [{ ...artifact, name: "../a" }],
      [{ ...artifact, sha256: "x" }],
      [{ ...artifact, kind: "x" }],
      [{ ...artifact, bytes: 0 }],
    ])
      expect(() => readManifest(JSON.stringify({ ...good, artifacts }))).toThrow(MANIFEST);
  });
});

describe("the version", () => {
  test("is the same wherever it stands", async () => {
    const stated = await statedVersions();
    expect(stated.filter((one) => one.version !== version)).toEqual([]);
    expect(stated.length).toBeGreaterThanOrEqual(6);
    expect(await agreedVersion()).toBe(version);
  });

  test("must be that of the tag, and told about with a date", async () => {
    await expect(agreedVersion("v9.9.9")).rejects.toThrow(`the tag is v9.9.9, and this is ${version}`);
    const [top] = sectionsOf(await readText("CHANGELOG.md"));
    if (top?.released === false) await expect(agreedVersion(`v${version}`)).rejects.toThrow("unreleased");
    else expect(await agreedVersion(`v${version}`)).toBe(version);
  });

  test("has notes from its section, whose links lead to the files as they were", () => {
    const text =
      "# Changelog\n\nForm.\n\n## Unreleased (1.1.0)\n\n- Coming.\n\n## 1.0.0 - 2026-01-02\n\n- See [a](docs/a.md#b), [c](https://x.y/z).\n\n## [0.9.0] - 2025-01-01\n";
    expect(sectionsOf(text)).toEqual([
      { version: "1.1.0", released: false, text: "- Coming." },
      { version: "1.0.0", released: true, text: "- See [a](docs/a.md#b), [c](https://x.y/z)." },
      { version: "0.9.0", released: true, text: "" },
    ]);
    expect(notesOf(text, "1.0.0", REPOSITORY)).toBe(`- See [a](${REPOSITORY}/blob/v1.0.0/docs/a.md#b), [c](https://x.y/z).\n`);
    expect(() => notesOf(text, "0.9.0", REPOSITORY)).toThrow("says nothing");
    expect(() => notesOf(text, "0.8.0", REPOSITORY)).toThrow("no section");
    for (const bad of ["## 1.0.0", "## Unreleased", "## v1.0.0 - 2026-01-02"]) expect(() => sectionsOf(bad)).toThrow("CHANGELOG.md");
  });
});
