/**
 * Puts a release together, and checks one.
 *
 *   bun scripts/release.ts [--out DIR] [--targets host|all|NAME,…] [--images ARCH,…|none] [--no-sbom] [--tag vX.Y.Z]
 *   bun scripts/release.ts --verify DIR
 *   bun scripts/release.ts --bundle [--file FILE] [--out DIR]    one tar of the release in DIR for a site without internet
 *   bun scripts/release.ts --notes [--tag vX.Y.Z]       what the changelog says about this version
 *   bun scripts/release.ts --versions [--tag vX.Y.Z]    the version that every file must agree on
 *
 * Into DIR (dist/release): executables, charts, archives of the image, the bill of materials, notes, release.json, SHA256SUMS.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { source } from "./build-target.ts";
import { writeBundle } from "./release/bundle.ts";
import { notesOf } from "./release/changelog.ts";
import { gather } from "./release/gather.ts";
import { listing, packRelease } from "./release/pack.ts";
import { faultsOf } from "./release/verify.ts";
import { agreedVersion, readText, REPOSITORY } from "./release/versions.ts";
import { ROOT, seconds } from "./run.ts";

async function inScratch<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "transporter-release-"));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function verify(directory: string): Promise<boolean> {
  const faults = await inScratch((scratch) => faultsOf(directory, scratch));
  for (const fault of faults) console.error(`FAULT  ${fault}`);
  console.log(`${await listing(directory)}\n\n${directory}: ${faults.length === 0 ? "whole" : `${faults.length} faults`}`);
  return faults.length === 0;
}

const { values } = parseArgs({
  options: {
    out: { type: "string", default: "dist/release" },
    targets: { type: "string", default: "host" },
    images: { type: "string", default: "none" },
    "no-sbom": { type: "boolean", default: false },
    tag: { type: "string" },
    verify: { type: "string" },
    bundle: { type: "boolean", default: false },
    file: { type: "string" },
    notes: { type: "boolean", default: false },
    versions: { type: "boolean", default: false },
  },
});

async function main(): Promise<boolean> {
  if (values.verify !== undefined) return verify(resolve(values.verify));
  const version = await agreedVersion(values.tag);
  const notes = notesOf(await readText("CHANGELOG.md"), version, REPOSITORY);
  if (values.versions) console.log(version);
  else if (values.notes) process.stdout.write(notes);
  else if (values.bundle) {
    const directory = resolve(ROOT, values.out);
    const file = values.file === undefined ? join(ROOT, "dist", `transporter-${version}-airgapped.tar`) : resolve(values.file);
    // What is carried in cannot be fetched again.
    if (!(await verify(directory))) return false;
    await mkdir(dirname(file), { recursive: true });
    await writeBundle(directory, file);
    console.log(`\n${file}: ${(Bun.file(file).size / 1e6).toFixed(1)} MB`);
  } else {
    const startedMs = performance.now();
    const { commit, epoch } = await source();
    if (values.tag !== undefined && commit.endsWith("-dirty"))
      throw new Error("files differ from the commit: a release is made of what is committed");
    // All of it is of one commit, also when somebody commits meanwhile.
    process.env["TRANSPORTER_BUILD_COMMIT"] = commit;
    process.env["SOURCE_DATE_EPOCH"] = String(epoch);
    const directory = resolve(ROOT, values.out);
    return inScratch(async (scratch) => {
      const parts = await gather(scratch, { version, targets: values.targets, images: values.images, sbom: !values["no-sbom"] });
      await packRelease(directory, { ...parts, version, notes });
      const whole = await verify(directory);
      console.log(`in ${seconds(startedMs)}`);
      return whole;
    });
  }
  return true;
}

try {
  if (!(await main())) process.exitCode = 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
