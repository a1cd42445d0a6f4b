import { join } from "node:path";
import { parse } from "yaml";
import { ROOT } from "../run.ts";
import { sectionsOf } from "./changelog.ts";

export const REPOSITORY = "https://github.com/transporter-dev/transporter";
export const IMAGE = "ghcr.io/transporter-dev/transporter";
export const CHARTS: readonly string[] = ["transporter-cp", "transporter-agent"];

export function readText(path: string): Promise<string> {
  return Bun.file(join(ROOT, path)).text();
}

export async function versionOf(): Promise<string> {
  return (JSON.parse(await readText("package.json")) as { readonly version: string }).version;
}

interface Stated {
  readonly where: string;
  readonly version: string;
}

/** Every place that says which version this is. */
export async function statedVersions(): Promise<Stated[]> {
  const stated: Stated[] = [{ where: "package.json", version: await versionOf() }];
  const [top] = sectionsOf(await readText("CHANGELOG.md"));
  stated.push({ where: "CHANGELOG.md, its first section", version: top?.version ?? "none" });
  for (const chart of CHARTS) {
    const path = `helm/${chart}/Chart.yaml`;
    const {
      version,
      appVersion,
      annotations = {},
    } = parse(await readText(path)) as {
      readonly version: unknown;
      readonly appVersion: unknown;
      readonly annotations?: Readonly<Record<string, string>>;
    };
    stated.push({ where: `${path}, version`, version: String(version) }, { where: `${path}, appVersion`, version: String(appVersion) });
    for (const [, tag = ""] of (annotations["artifacthub.io/images"] ?? "").matchAll(new RegExp(`${IMAGE}:(\\S+)`, "g")))
      stated.push({ where: `${path}, artifacthub.io/images`, version: tag });
  }
  const dockerfile = /^ARG VERSION=(\S+)$/m.exec(await readText("Dockerfile"))?.[1];
  if (dockerfile !== undefined) stated.push({ where: "Dockerfile, VERSION", version: dockerfile });
  return stated;
}

/** The version that all of them say; throws where one says another, naming all. `tag`: of a release, which a section with a date must tell about. */
export async function agreedVersion(tag?: string): Promise<string> {
  const stated = await statedVersions();
  const [first] = stated;
  const version = first?.version ?? "";
  if (stated.some((one) => one.version !== version))
    throw new Error(`the versions differ:\n${stated.map(({ where, version: one }) => `  ${one}  ${where}`).join("\n")}`);
  if (tag === undefined) return version;
  if (tag !== `v${version}`) throw new Error(`the tag is ${tag}, and this is ${version}: it must be v${version}`);
  const [top] = sectionsOf(await readText("CHANGELOG.md"));
  if (top?.released !== true)
    throw new Error(`CHANGELOG.md calls ${version} unreleased: give its section a date ("## ${version} - YYYY-MM-DD")`);
  return version;
}
