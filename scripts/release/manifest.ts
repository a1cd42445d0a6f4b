import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";

/** What a directory of a release says about itself. Only added to: whoever reads it skips what they do not know. */
export const MANIFEST = "release.json";
export const SUMS = "SHA256SUMS";

const Sha256 = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const Name = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][\w.+-]*$/));

const Artifact = v.object({
  name: Name,
  kind: v.picklist(["executable", "chart", "image", "sbom", "notes"]),
  /** `linux-amd64`, …; of executables and images. */
  platform: v.optional(v.string()),
  bytes: v.pipe(v.number(), v.integer(), v.minValue(1)),
  sha256: Sha256,
});

const Manifest = v.object({
  format: v.literal("transporter.dev/release/v1"),
  version: v.string(),
  commit: v.string(),
  /** Of the commit, not of the build. */
  created: v.pipe(v.string(), v.isoTimestamp()),
  image: v.string(),
  artifacts: v.pipe(v.array(Artifact), v.minLength(1)),
});

export type Artifact = v.InferOutput<typeof Artifact>;
export type Manifest = v.InferOutput<typeof Manifest>;

export function readManifest(text: string): Manifest {
  const read = v.safeParse(Manifest, JSON.parse(text));
  if (read.success) return read.output;
  throw new Error(`${MANIFEST}: ${read.issues.map((issue) => `${v.getDotPath(issue) ?? "."}: ${issue.message}`).join("; ")}`);
}

export async function sha256Of(path: string): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of Bun.file(path).stream()) hasher.update(chunk);
  return hasher.digest("hex");
}

export async function describe(directory: string, name: string, kind: Artifact["kind"], platform?: string): Promise<Artifact> {
  const path = join(directory, name);
  const { size } = await stat(path);
  return { name, kind, ...(platform === undefined ? {} : { platform }), bytes: size, sha256: await sha256Of(path) };
}

/** As `sha256sum` writes and checks them; every file but itself. */
export async function writeSums(directory: string): Promise<void> {
  const names = (await readdir(directory)).filter((name) => name !== SUMS).toSorted();
  const lines = await Promise.all(names.map(async (name) => `${await sha256Of(join(directory, name))}  ${name}\n`));
  await Bun.write(join(directory, SUMS), lines.join(""));
}

export function readSums(text: string): Map<string, string> {
  const sums = new Map<string, string>();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const match = /^([0-9a-f]{64}) [ *]([^/]+)$/.exec(line);
    if (match === null) throw new Error(`${SUMS}: ${JSON.stringify(line)} is not a checksum and a name`);
    const [, sum = "", name = ""] = match;
    if (sums.has(name)) throw new Error(`${SUMS} names ${name} twice`);
    sums.set(name, sum);
  }
  return sums;
}
