import { join } from "node:path";
import { buildAll, DIST } from "../build-all.ts";
import { fileName, source, TARGETS } from "../build-target.ts";
import { packageCharts } from "../charts.ts";
import { BUN, run } from "../run.ts";
import type { ReleaseParts } from "./pack.ts";
import { hostPlatform } from "./verify.ts";
import { IMAGE } from "./versions.ts";

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

/** All executables of the release are compiled for their platform by name: also this machine's, which ./transporter is not. */
async function executables(targets: string): Promise<Map<string, string>> {
  if (targets === "none") return new Map();
  const host = hostPlatform();
  if (targets === "host" && host === undefined)
    throw new Error(`no executable is made for ${process.platform} on ${process.arch}: name --targets`);
  const names = targets === "host" ? [host ?? ""] : targets === "all" ? Object.keys(TARGETS) : targets.split(",");
  await buildAll(names, (line) => console.log(line));
  return new Map(names.map((name) => [name, join(DIST, fileName(name))]));
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
    await make("image.ts", "--arch", processor, "--tag", `${IMAGE}:${version}`, "--output", archive);
    archives.set(`linux-${processor}`, archive);
  }
  const bill = join(scratch, "transporter.cdx.json");
  if (sbom) await make("sbom.ts", bill);
  const { commit, epoch } = await source();
  return {
    commit,
    atSeconds: epoch,
    executables: programs,
    images: archives,
    charts: await packageCharts(join(scratch, "charts")),
    sbom: sbom ? bill : undefined,
  };
}
