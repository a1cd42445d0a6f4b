import { join } from "node:path";
import { ROOT } from "../run.ts";

export interface ImagePublication {
  /** Such as `ghcr.io/transporter-dev/transporter`. */
  readonly repository: string;
  readonly tags: readonly string[];
  readonly push: boolean;
  readonly platforms: readonly string[];
  readonly version: string;
  readonly commit: string;
  readonly atSeconds: number;
}

/** Runs a program and gives its standard output; fails when it does. */
export type Ask = (command: readonly string[]) => Promise<string>;

/** The images that a Dockerfile builds upon, by the arguments that name them. */
export function basesOf(dockerfile: string): Map<string, string> {
  const bases = new Map<string, string>();
  for (const [, name = "", image = ""] of dockerfile.matchAll(/^ARG (\w+_IMAGE)=(\S+)$/gm)) bases.set(name, image);
  if (bases.size === 0) throw new Error("the Dockerfile has no argument that names an image");
  return bases;
}

/** The same image by what it is, so that what is built upon cannot be exchanged between two builds, and can be told afterwards. */
export async function byDigest(image: string, ask: Ask): Promise<string> {
  if (image.includes("@sha256:")) return image;
  const answer = await ask(["docker", "buildx", "imagetools", "inspect", image, "--format", "{{json .Manifest.Digest}}"]);
  const digest: unknown = JSON.parse(answer);
  if (typeof digest !== "string" || !/^sha256:[0-9a-f]{64}$/.test(digest)) throw new Error(`${image} has no digest: ${answer.trim()}`);
  return `${image}@${digest}`;
}

export function buildCommand(publication: ImagePublication, bases: ReadonlyMap<string, string>, metadataFile: string): string[] {
  const { repository, tags, push, platforms, version, commit, atSeconds } = publication;
  const created = new Date(atSeconds * 1000).toISOString().replace(".000Z", "Z");
  const settings = { ...Object.fromEntries(bases), VERSION: version, REVISION: commit, CREATED: created };
  const target = ["docker", "buildx", "build", "--platform", platforms.join(","), "--file", join(ROOT, "Dockerfile")];
  const args = Object.entries(settings).flatMap(([name, value]) => ["--build-arg", `${name}=${value}`]);
  const names = tags.flatMap((tag) => ["--tag", `${repository}:${tag}`]);
  const attested = ["--provenance=mode=max", "--sbom=true", "--metadata-file", metadataFile];
  // Times of files are the commit's as well, or the layers of two builds would differ.
  const output = ["--output", `type=image,push=${push},rewrite-timestamp=true`];
  return [...target, ...args, ...names, ...attested, ...output, ROOT];
}

export function digestOf(metadata: string): string {
  const digest = (JSON.parse(metadata) as Readonly<Record<string, unknown>>)["containerimage.digest"];
  if (typeof digest !== "string" || !/^sha256:[0-9a-f]{64}$/.test(digest)) throw new Error("docker buildx told no digest of what it built");
  return digest;
}
