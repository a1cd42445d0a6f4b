/** Holds the licences of all installed packages to those that may be shipped with, or used to make, a program under MIT. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ROOT } from "./run.ts";

/** What they ask for is that their text goes along. */
const ALLOWED = new Set([
  "MIT",
  "MIT-0",
  "ISC",
  "0BSD",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "Apache-2.0",
  "Unlicense",
  "CC0-1.0",
  "BlueOak-1.0.0",
]);
/** Packages with another licence, by name, and why they may stay. */
const BY_NAME: Readonly<Record<string, string>> = {
  argparse: "PSF-2.0, Python's own: as permissive, and its argparse is where this one comes from",
};

/** Whether an SPDX expression can be kept with what is allowed: one side of each OR, both of each AND. */
function isAllowed(licence: string): boolean {
  const bare = licence.replaceAll(/[()]/g, " ").trim();
  return bare.split(/\s+OR\s+/).some((side) => side.split(/\s+AND\s+/).every((one) => ALLOWED.has(one.trim())));
}

interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly license?: unknown;
  readonly licenses?: unknown;
}

function licenceOf({ license, licenses }: Manifest): string {
  if (typeof license === "string") return license;
  if (Array.isArray(licenses)) return licenses.map((one: { readonly type?: unknown }) => String(one.type)).join(" OR ");
  return "none stated";
}

const refused: string[] = [];
const counts = new Map<string, number>();
const seen = new Set<string>();
for (const pattern of ["node_modules/**/package.json"]) {
  for await (const path of new Bun.Glob(pattern).scan({ cwd: ROOT, followSymlinks: false })) {
    // A package's own, not one of the small ones that some carry inside to name a module format.
    if (!/(^|\/)node_modules\/(@[^/]+\/)?[^/]+\/package\.json$/.test(path)) continue;
    const manifest = JSON.parse(await readFile(join(ROOT, path), "utf8")) as Manifest;
    const { name, version } = manifest;
    if (name === undefined || version === undefined || seen.has(`${name}@${version}`)) continue;
    seen.add(`${name}@${version}`);
    const licence = licenceOf(manifest);
    counts.set(licence, (counts.get(licence) ?? 0) + 1);
    if (!isAllowed(licence) && !Object.hasOwn(BY_NAME, name)) refused.push(`${name}@${version}: ${licence}`);
  }
}
for (const [licence, count] of [...counts].toSorted((a, b) => b[1] - a[1])) console.log(`${String(count).padStart(4)}  ${licence}`);
if (seen.size === 0) refused.push("no package is installed: nothing was looked at");
if (refused.length > 0) {
  console.error(`\nNot allowed, or not known to be:\n${refused.toSorted().join("\n")}`);
  process.exitCode = 1;
} else console.log(`\n${seen.size} packages, all of them under licences that are allowed`);
