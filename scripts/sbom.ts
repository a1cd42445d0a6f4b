/**
 * Writes the bill of materials (CycloneDX) of what is compiled into ./transporter: `just sbom [FILE]`. By cdxgen, which reads the lockfile;
 * of a fixed version, and without installing or running anything of the packages.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { source } from "./build-target.ts";
import { BUN, ROOT, run } from "./run.ts";

const CDXGEN = "@cyclonedx/cdxgen@12.8.4";

const [file = "transporter.cdx.json"] = process.argv.slice(2);
const path = resolve(ROOT, file);
const code = await run([BUN, "x", CDXGEN, "-t", "bun", "--no-install-deps", "--no-babel", "--required-only", "-o", path, ROOT], {
  CDXGEN_SECURE_MODE: "false",
  FETCH_LICENSE: "false",
});
if (code !== 0) throw new Error(`cdxgen ended with ${code}`);
interface Bill {
  serialNumber?: string;
  readonly metadata: { timestamp?: string };
  readonly annotations?: readonly { timestamp?: string }[];
  readonly components?: { readonly name: string }[];
}

const bill = JSON.parse(await readFile(path, "utf8")) as Bill;
const components = bill.components ?? [];
// The lockfile does not have what runs all of it and is most of the bytes.
components.push({
  type: "framework",
  name: "bun",
  version: Bun.version,
  purl: `pkg:github/oven-sh/bun@bun-v${Bun.version}`,
  "bom-ref": `pkg:github/oven-sh/bun@bun-v${Bun.version}`,
  licenses: [{ license: { id: "MIT" } }],
} as { readonly name: string });
// The same commit has the same bill: of its time, and with a number made from what is in it.
const timestamp = new Date((await source()).epoch * 1000).toISOString();
bill.metadata.timestamp = timestamp;
for (const annotation of bill.annotations ?? []) annotation.timestamp = timestamp;
delete bill.serialNumber;
const hash = new Bun.CryptoHasher("sha256").update(JSON.stringify(bill)).digest("hex");
const uuid = [hash.slice(0, 8), hash.slice(8, 12), `8${hash.slice(13, 16)}`, `8${hash.slice(17, 20)}`, hash.slice(20, 32)];
bill.serialNumber = `urn:uuid:${uuid.join("-")}`;
await writeFile(path, `${JSON.stringify(bill, null, 2)}\n`);
const { dependencies } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
  readonly dependencies: Readonly<Record<string, string>>;
};
const names = new Set(components.map(({ name }) => name));
// A bill that lacks what is plainly inside is worse than none.
const missing = Object.keys(dependencies).filter((name) => !names.has(name.replace(/^@[^/]+\//, "")) && !names.has(name));
if (missing.length > 0) throw new Error(`${file} lacks ${missing.join(", ")}`);
console.log(`\n${file}: ${components.length} components`);
