/**
 * Writes the bill of materials (CycloneDX) of what is compiled into ./transporter: `just sbom [FILE]`. By cdxgen, which reads the lockfile;
 * of a fixed version, and without installing or running anything of the packages.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { BUN, ROOT, run } from "./run.ts";

const CDXGEN = "@cyclonedx/cdxgen@12.8.4";

const [file = "transporter.cdx.json"] = process.argv.slice(2);
const path = join(ROOT, file);
const code = await run([BUN, "x", CDXGEN, "-t", "bun", "--no-install-deps", "--no-babel", "--required-only", "-o", path, ROOT], {
  CDXGEN_SECURE_MODE: "false",
  FETCH_LICENSE: "false",
});
if (code !== 0) throw new Error(`cdxgen ended with ${code}`);
const { components = [] } = JSON.parse(await readFile(path, "utf8")) as { readonly components?: readonly { readonly name: string }[] };
const { dependencies } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
  readonly dependencies: Readonly<Record<string, string>>;
};
const names = new Set(components.map(({ name }) => name));
// A bill that lacks what is plainly inside is worse than none.
const missing = Object.keys(dependencies).filter((name) => !names.has(name.replace(/^@[^/]+\//, "")) && !names.has(name));
if (missing.length > 0) throw new Error(`${file} lacks ${missing.join(", ")}`);
console.log(`\n${file}: ${components.length} components`);
