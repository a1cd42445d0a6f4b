/**
 * Makes dist/: the executable for every machine, or for those that are named (`just build-all linux-arm64`), and SHA256SUMS of all that is there.
 * `--sbom` adds the bill of materials. The same sources give the same bytes.
 */
import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { compile, fileName, source, TARGETS } from "./build-target.ts";
import { BUN, ROOT, run, seconds } from "./run.ts";

export const DIST: string = join(ROOT, "dist");

/** Compiles one after the other: each takes all the processors there are. */
export async function buildAll(names: readonly string[], say: (line: string) => void): Promise<void> {
  const { commit } = await source();
  await mkdir(DIST, { recursive: true });
  for (const name of names) {
    const target = TARGETS[name];
    if (target === undefined) throw new Error(`There is no target ${name}. Targets: ${Object.keys(TARGETS).join(", ")}`);
    const startedMs = performance.now();
    const outfile = join(DIST, fileName(name));
    await compile({ outfile, commit, target });
    say(`dist/${fileName(name)}: ${((await stat(outfile)).size / 1e6).toFixed(1)} MB in ${seconds(startedMs)}`);
  }
}

/** In the form of sha256sum, so that `sha256sum -c SHA256SUMS` checks what was carried elsewhere. */
export async function writeChecksums(directory: string): Promise<string> {
  const names = (await readdir(directory)).filter((name) => name.startsWith("transporter")).toSorted();
  const lines: string[] = [];
  for (const name of names) {
    const hash = new Bun.CryptoHasher("sha256");
    for await (const chunk of Bun.file(join(directory, name)).stream()) hash.update(chunk);
    lines.push(`${hash.digest("hex")}  ${name}\n`);
  }
  const path = join(directory, "SHA256SUMS");
  await writeFile(path, lines.join(""));
  return path;
}

if (import.meta.main) {
  try {
    const { positionals, values } = parseArgs({ allowPositionals: true, options: { sbom: { type: "boolean", default: false } } });
    await buildAll(positionals.length === 0 ? Object.keys(TARGETS) : positionals, (line) => {
      console.log(line);
    });
    if (values.sbom && (await run([BUN, "scripts/sbom.ts", "dist/transporter.cdx.json"])) !== 0)
      throw new Error("the bill of materials was not made");
    console.log(await Bun.file(await writeChecksums(DIST)).text());
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
