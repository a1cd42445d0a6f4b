import { chmod, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { parse } from "yaml";
import { MANIFEST, type Artifact, type Manifest, readManifest, readSums, sha256Of, SUMS } from "./manifest.ts";

/** Of this machine, as artifacts name it; undefined where none is made for it. */
export function hostPlatform(): string | undefined {
  const system = { linux: "linux", darwin: "darwin", win32: "windows" }[process.platform as string];
  const processor = { x64: "amd64", arm64: "arm64" }[process.arch as string];
  return system === undefined || processor === undefined ? undefined : `${system}-${processor}`;
}

async function filesIn(path: string): Promise<Map<string, Blob>> {
  return new Bun.Archive(await Bun.file(path).bytes()).files();
}

async function chartFaults(path: string, { name }: Artifact, { version }: Manifest): Promise<string[]> {
  const chart = name.slice(0, name.length - `-${version}.tgz`.length);
  const file = (await filesIn(path)).get(`${chart}/Chart.yaml`);
  if (file === undefined) return [`${name} holds no ${chart}/Chart.yaml`];
  const said = parse(await file.text()) as Readonly<Record<string, unknown>>;
  return (["version", "appVersion"] as const).flatMap((key) =>
    said[key] === version ? [] : [`${name} says ${key} ${String(said[key])} and the release is ${version}`],
  );
}

async function executableFaults(
  path: string,
  { name, platform = "" }: Artifact,
  { version, commit }: Manifest,
  scratch: string,
): Promise<string[]> {
  const files = await filesIn(path);
  const program = platform.startsWith("windows") ? "transporter.exe" : "transporter";
  const names = [...files.keys()].toSorted().join(", ");
  if (names !== ["LICENSE", program].join(", ")) return [`${name} holds ${names || "nothing"} instead of LICENSE and ${program}`];
  if (platform !== hostPlatform()) return [];
  const unpacked = join(scratch, program);
  await Bun.write(unpacked, files.get(program) ?? "");
  await chmod(unpacked, 0o755);
  // Alone with itself: what the environment names is not what is looked at.
  const child = Bun.spawn([unpacked, "version", "-o", "json"], { env: {}, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [output, errors, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (exitCode !== 0) return [`${name} does not run here: ${errors.trim() || output}`];
  const { client } = JSON.parse(output) as { readonly client: { readonly version: string; readonly commit: string } };
  return [
    ...(client.version === version ? [] : [`${name} calls itself ${client.version} and the release is ${version}`]),
    ...(client.commit === commit ? [] : [`${name} was made from ${client.commit} and the release from ${commit}`]),
  ];
}

async function imageFaults(path: string, { name }: Artifact): Promise<string[]> {
  const names = new Set((await filesIn(path)).keys());
  return names.has("index.json") || names.has("manifest.json") ? [] : [`${name} is no archive of an image`];
}

async function sbomFaults(path: string, { name }: Artifact): Promise<string[]> {
  const { bomFormat, components } = (await Bun.file(path).json()) as {
    readonly bomFormat?: string;
    readonly components?: readonly unknown[];
  };
  return bomFormat === "CycloneDX" && (components ?? []).length > 0 ? [] : [`${name} is no bill of materials in CycloneDX`];
}

function contentFaults(path: string, artifact: Artifact, manifest: Manifest, scratch: string): Promise<string[]> {
  switch (artifact.kind) {
    case "chart":
      return chartFaults(path, artifact, manifest);
    case "executable":
      return executableFaults(path, artifact, manifest, scratch);
    case "image":
      return imageFaults(path, artifact);
    case "sbom":
      return sbomFaults(path, artifact);
    case "notes":
      return Promise.resolve([]);
  }
}

/** What is wrong with a directory of a release: what it lacks, has too much, or says differently. `scratch`: an empty directory. */
export async function faultsOf(directory: string, scratch: string): Promise<string[]> {
  const present = new Set(await readdir(directory));
  const missing = [MANIFEST, SUMS].filter((name) => !present.has(name));
  if (missing.length > 0) return missing.map((name) => `${name} is missing`);
  const faults: string[] = [];
  const manifest = readManifest(await Bun.file(join(directory, MANIFEST)).text());
  const sums = readSums(await Bun.file(join(directory, SUMS)).text());
  for (const name of present) if (name !== SUMS && !sums.has(name)) faults.push(`${name} is not in ${SUMS}`);
  for (const [name, sum] of sums) {
    if (!present.has(name)) faults.push(`${name} is missing`);
    else if ((await sha256Of(join(directory, name))) !== sum) faults.push(`${name} is not what ${SUMS} says`);
  }
  const listed = new Set(manifest.artifacts.map(({ name }) => name));
  if (listed.size !== manifest.artifacts.length) faults.push(`${MANIFEST} names an artifact twice`);
  for (const name of present) if (name !== SUMS && name !== MANIFEST && !listed.has(name)) faults.push(`${name} is not in ${MANIFEST}`);
  for (const artifact of manifest.artifacts) {
    if (!present.has(artifact.name)) {
      faults.push(`${artifact.name} is missing, and ${MANIFEST} names it`);
      continue;
    }
    const path = join(directory, artifact.name);
    if (artifact.sha256 !== sums.get(artifact.name)) faults.push(`${MANIFEST} and ${SUMS} differ about ${artifact.name}`);
    if ((await stat(path)).size !== artifact.bytes) faults.push(`${artifact.name} does not have the size that ${MANIFEST} says`);
    // What was exchanged is not opened.
    if (faults.some((fault) => fault.includes(artifact.name))) continue;
    try {
      faults.push(...(await contentFaults(path, artifact, manifest, scratch)));
    } catch (error) {
      faults.push(`${artifact.name} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return faults;
}
