import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { BUN, capture, ROOT, run } from "../run.ts";
import type { ReleaseParts } from "./pack.ts";
import { hostPlatform } from "./verify.ts";
import { CHARTS } from "./versions.ts";

interface Wanted {
  readonly version: string;
  /** `host`, `all`, or names separated by commas. */
  readonly targets: string;
  /** Processors separated by commas, or `none`. */
  readonly images: string;
  readonly sbom: boolean;
}

/** Each program of the release is the one that its own recipe makes: nothing is built here in another way. */
async function make(script: string, ...args: readonly string[]): Promise<void> {
  console.log(`\n== ${script} ${args.join(" ")}`);
  const code = await run([BUN, join("scripts", script), ...args]);
  if (code !== 0) throw new Error(`${script} ended with ${code}`);
}

async function git(...args: readonly string[]): Promise<string | undefined> {
  if (Bun.which("git") === null) return undefined;
  const { exitCode, output } = await capture(["git", ...args]);
  return exitCode === 0 ? output : undefined;
}

/** The commit and its time: they, not the build, are what two builds have in common. */
export async function commitOf(): Promise<{ readonly commit: string; readonly atSeconds: number }> {
  const commit = await git("rev-parse", "HEAD");
  const time = process.env["SOURCE_DATE_EPOCH"] ?? (await git("log", "-1", "--format=%ct"));
  const changes = await git("status", "--porcelain", "--untracked-files=no");
  if (commit === undefined) return { commit: "unknown", atSeconds: Number(time ?? 0) };
  return { commit: changes === "" ? commit : `${commit}-dirty`, atSeconds: Number(time ?? 0) };
}

async function executables(targets: string): Promise<Map<string, string>> {
  if (targets === "none") return new Map();
  const host = hostPlatform();
  if (targets === "host" && host === undefined)
    throw new Error(`no executable is made for ${process.platform} on ${process.arch}: name --targets`);
  const names = targets === "host" ? [host ?? ""] : targets === "all" ? [] : targets.split(",");
  await make("build-all.ts", ...names);
  const built = new Map<string, string>();
  for (const file of await readdir(join(ROOT, "dist"))) {
    const platform = /^transporter-((?:linux|darwin|windows)-[a-z0-9-]+)(?:\.exe)?$/.exec(file)?.[1];
    if (platform !== undefined && (names.length === 0 || names.includes(platform))) built.set(platform, join(ROOT, "dist", file));
  }
  const missing = names.filter((name) => !built.has(name));
  if (missing.length > 0 || built.size === 0) throw new Error(`build-all made no ${missing.join(", ") || "executable"}`);
  return built;
}

/** Makes whatever was asked for; files of its own go into `scratch`. */
export async function gather(
  scratch: string,
  { version, targets, images, sbom }: Wanted,
): Promise<Omit<ReleaseParts, "version" | "notes">> {
  const programs = await executables(targets);
  const archives = new Map<string, string>();
  for (const processor of images === "none" ? [] : images.split(",")) {
    const archive = join(scratch, `image-${processor}.tar`);
    await make("image.ts", "--arch", processor, "--archive", archive);
    archives.set(`linux-${processor}`, archive);
  }
  await make("charts.ts", "package", "--out", scratch);
  const bill = join(scratch, "transporter.cdx.json");
  if (sbom) await make("sbom.ts", bill);
  return {
    ...(await commitOf()),
    executables: programs,
    images: archives,
    charts: CHARTS.map((chart) => join(scratch, `${chart}-${version}.tgz`)),
    sbom: sbom ? bill : undefined,
  };
}
