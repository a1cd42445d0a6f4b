import { copyFile, mkdir, readdir, rm, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { ROOT } from "../run.ts";
import { type Artifact, describe, MANIFEST, type Manifest, SUMS, writeSums } from "./manifest.ts";
import { writeTar } from "./tar.ts";
import { IMAGE } from "./versions.ts";

export interface ReleaseParts {
  readonly version: string;
  readonly commit: string;
  /** Of the commit. */
  readonly atSeconds: number;
  /** Platform, such as `linux-amd64`, to the program. */
  readonly executables: ReadonlyMap<string, string>;
  /** Platform to an archive that container engines load. */
  readonly images: ReadonlyMap<string, string>;
  /** Packaged charts, named as helm names them. */
  readonly charts: readonly string[];
  readonly sbom?: string | undefined;
  readonly notes: string;
}

export const NOTES = "RELEASE-NOTES.md";

/** Only what an earlier run left is taken away; a directory with anything else in it is somebody's. */
async function emptyRelease(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const names = await readdir(directory);
  if (names.length > 0 && !names.includes(MANIFEST) && !names.includes(SUMS))
    throw new Error(`${directory} has files in it and is not a release: name an empty directory`);
  for (const name of names) await rm(join(directory, name), { recursive: true });
}

/** Puts a release together in a directory of its own. The same parts make the same bytes. */
export async function packRelease(directory: string, parts: ReleaseParts): Promise<Manifest> {
  const { version, commit, atSeconds, executables, images, charts, sbom, notes } = parts;
  await emptyRelease(directory);
  const artifacts: Artifact[] = [];
  for (const [platform, path] of executables) {
    const name = `transporter-${version}-${platform}.tar.gz`;
    const program = platform.startsWith("windows") ? "transporter.exe" : "transporter";
    const entries = [
      { name: program, executable: true, content: { path } },
      { name: "LICENSE", content: { path: join(ROOT, "LICENSE") } },
    ];
    await writeTar(join(directory, name), entries, { atSeconds, gzip: true });
    artifacts.push(await describe(directory, name, "executable", platform));
  }
  for (const [platform, path] of images) {
    // Not compressed: podman 4 does not load what is.
    const name = `transporter-${version}-image-${platform}.tar`;
    await copyFile(path, join(directory, name));
    artifacts.push(await describe(directory, name, "image", platform));
  }
  for (const path of charts) {
    const name = basename(path);
    if (!name.endsWith(`-${version}.tgz`)) throw new Error(`${path} is not a chart of ${version}`);
    await copyFile(path, join(directory, name));
    artifacts.push(await describe(directory, name, "chart"));
  }
  if (sbom !== undefined) {
    const name = "transporter.cdx.json";
    await copyFile(sbom, join(directory, name));
    artifacts.push(await describe(directory, name, "sbom"));
  }
  await Bun.write(join(directory, NOTES), notes);
  artifacts.push(await describe(directory, NOTES, "notes"));
  const manifest: Manifest = {
    format: "transporter.dev/release/v1",
    version,
    commit,
    created: new Date(atSeconds * 1000).toISOString(),
    image: `${IMAGE}:${version}`,
    artifacts,
  };
  await Bun.write(join(directory, MANIFEST), `${JSON.stringify(manifest, null, 2)}\n`);
  await writeSums(directory);
  return manifest;
}

/** For people: what is in it and how large. */
export async function listing(directory: string): Promise<string> {
  const names = (await readdir(directory)).toSorted();
  const lines = names.map(async (name) => {
    const { size } = await stat(join(directory, name));
    const shown = size < 1e6 ? `${(size / 1e3).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`;
    return `${shown.padStart(10)}  ${name}`;
  });
  return (await Promise.all(lines)).join("\n");
}
