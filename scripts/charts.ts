/**
 * The two charts: looked at, packed, and brought to a registry. helm is the sandbox's, so that everybody packs with the same one.
 *
 *   bun scripts/charts.ts lint
 *   bun scripts/charts.ts package [--out DIR]                       into dist/charts; the same bytes each time
 *   bun scripts/charts.ts push REGISTRY [--out DIR] [--plain-http]  such as oci://ghcr.io/transporter-dev/charts
 *
 * Who may push is helm's to know: `helm registry login`, or HELM_REGISTRY_CONFIG.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { gunzipSync, gzipSync } from "node:zlib";
import { HELM } from "../sandbox/helm/mod.ts";
import { source } from "./build-target.ts";
import { agreedVersion, CHARTS } from "./release/versions.ts";
import { capture, ROOT } from "./run.ts";

const BLOCK = 512;

/** The same archive, but for when its files were written: helm takes the time of packing, and the same chart would be other bytes each time. */
export function timeless(tar: Uint8Array, atSeconds: number): Uint8Array {
  const out = Uint8Array.from(tar);
  const textAt = (from: number, length: number): string => new TextDecoder("latin1").decode(out.subarray(from, from + length));
  const put = (from: number, text: string): void => out.set(new TextEncoder().encode(text), from);
  for (let at = 0; at + BLOCK <= out.length && out[at] !== 0;) {
    const size = Number.parseInt(textAt(at + 124, 12), 8);
    if (!Number.isSafeInteger(size)) throw new Error("not a tar archive");
    put(at + 136, `${atSeconds.toString(8).padStart(11, "0")}\0`);
    put(at + 148, " ".repeat(8));
    const sum = out.subarray(at, at + BLOCK).reduce((total, byte) => total + byte, 0);
    put(at + 148, `${sum.toString(8).padStart(6, "0")}\0 `);
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return out;
}

async function helm(args: readonly string[]): Promise<string> {
  const { helm: program } = HELM.prepare({ names: ["helm"], onProgress: (line) => console.error(line) });
  const { exitCode, output } = await capture([await program, ...args]);
  if (exitCode !== 0) throw new Error(`helm ${args.join(" ")} ended with ${exitCode}:\n${output}`);
  return output;
}

/** What a chart asks to be told: lint goes on without, but says so at length. */
const ASKED: Readonly<Record<string, string>> = { "transporter-agent": "agent.agentID=agent-1,agent.cpURL=https://cp.example.com" };

async function lintCharts(): Promise<void> {
  for (const chart of CHARTS) console.log(await helm(["lint", "--strict", join(ROOT, "helm", chart), "--set", ASKED[chart] ?? ""]));
}

/** Packs both charts and gives the paths. Refuses where version, appVersion and package.json differ. */
export async function packageCharts(directory: string): Promise<string[]> {
  const version = await agreedVersion();
  const { epoch } = await source();
  const scratch = await mkdtemp(join(tmpdir(), "transporter-charts-"));
  try {
    await mkdir(directory, { recursive: true });
    const paths: string[] = [];
    for (const chart of CHARTS) {
      await helm(["package", join(ROOT, "helm", chart), "--destination", scratch]);
      const name = `${chart}-${version}.tgz`;
      const packed = await readFile(join(scratch, name));
      const path = join(directory, name);
      await writeFile(path, gzipSync(timeless(gunzipSync(packed), epoch), { level: 9 }));
      paths.push(path);
    }
    return paths;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Packs and pushes; gives what each is called there, by digest. */
export async function pushCharts(registry: string, directory: string, plainHttp = false): Promise<string[]> {
  if (!/^oci:\/\/[^/]+/.test(registry)) throw new Error(`${registry} is no registry: say oci://HOST/PATH`);
  const pushed: string[] = [];
  for (const path of await packageCharts(directory)) {
    const said = await helm(["push", path, registry, ...(plainHttp ? ["--plain-http"] : [])]);
    const name = /^Pushed: (\S+?)(?::[^:/]+)?$/m.exec(said)?.[1];
    const digest = /^Digest: (sha256:[0-9a-f]{64})$/m.exec(said)?.[1];
    if (name === undefined || digest === undefined) throw new Error(`helm push did not say what it pushed:\n${said}`);
    pushed.push(`${name}@${digest}`);
  }
  return pushed;
}

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    options: { out: { type: "string", default: "dist/charts" }, "plain-http": { type: "boolean", default: false } },
    allowPositionals: true,
  });
  const [what, registry] = positionals;
  const directory = resolve(ROOT, values.out);
  try {
    if (what === "lint") await lintCharts();
    else if (what === "package") for (const path of await packageCharts(directory)) console.log(path);
    else if (what === "push" && registry !== undefined)
      for (const name of await pushCharts(registry, directory, values["plain-http"])) console.log(name);
    else throw new Error("say lint, package or push REGISTRY");
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
}
