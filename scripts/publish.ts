/**
 * Brings a release to where people get it from. Each step is a program that has to be there: docker with buildx, cosign, gh.
 *
 *   bun scripts/publish.ts image REPOSITORY TAG… [--push] [--platforms linux/amd64,linux/arm64]
 *   bun scripts/publish.ts sign REPOSITORY@sha256:…
 *   bun scripts/publish.ts release TAG DIR [FILE…]
 *
 * `image` prints the digest, and gives it to the next steps of a workflow as `digest`.
 */
import { appendFile, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { source } from "./build-target.ts";
import { NOTES } from "./release/pack.ts";
import { basesOf, buildCommand, byDigest, digestOf } from "./release/publish-image.ts";
import { faultsOf } from "./release/verify.ts";
import { agreedVersion, readText } from "./release/versions.ts";
import { run } from "./run.ts";

/** Standard output alone is the answer: programs speak to people on the other one. */
async function ask(command: readonly string[]): Promise<string> {
  const child = Bun.spawn([...command], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  const [text, code] = await Promise.all([child.stdout.text(), child.exited]);
  if (code !== 0) throw new Error(`${command.slice(0, 4).join(" ")} … ended with ${code}`);
  return text;
}

async function does(command: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
  console.log(`$ ${command.join(" ")}`);
  const code = await run(command, env);
  if (code !== 0) throw new Error(`${command.slice(0, 3).join(" ")} ended with ${code}`);
}

function needs(program: string): void {
  if (Bun.which(program) === null) throw new Error(`${program} is not on PATH`);
}

async function image(repository: string, tags: readonly string[], push: boolean, platforms: string): Promise<void> {
  needs("docker");
  if (tags.length === 0) throw new Error("an image needs a tag");
  const version = await agreedVersion();
  const { commit, epoch: atSeconds } = await source();
  const bases = new Map<string, string>();
  for (const [name, base] of basesOf(await readText("Dockerfile"))) bases.set(name, await byDigest(base, ask));
  const scratch = await mkdtemp(join(tmpdir(), "transporter-publish-"));
  try {
    const metadata = join(scratch, "metadata.json");
    const publication = { repository, tags, push, platforms: platforms.split(","), version, commit, atSeconds };
    await does(buildCommand(publication, bases, metadata), { SOURCE_DATE_EPOCH: String(atSeconds) });
    const digest = digestOf(await Bun.file(metadata).text());
    console.log(`${repository}@${digest}`);
    const outputs = process.env["GITHUB_OUTPUT"];
    if (outputs !== undefined && outputs !== "") await appendFile(outputs, `digest=${digest}\n`);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function sign(references: readonly string[]): Promise<void> {
  needs("cosign");
  if (references.length === 0) throw new Error("nothing to sign was named");
  // A tag may lead elsewhere by the time it is signed.
  for (const one of references) if (!/@sha256:[0-9a-f]{64}$/.test(one)) throw new Error(`${one} is not named by its digest`);
  for (const one of references) await does(["cosign", "sign", "--yes", "--recursive", one]);
}

async function release(tag: string, directory: string, files: readonly string[]): Promise<void> {
  needs("gh");
  await agreedVersion(tag);
  const scratch = await mkdtemp(join(tmpdir(), "transporter-publish-"));
  const faults = await faultsOf(directory, scratch);
  await rm(scratch, { recursive: true, force: true });
  if (faults.length > 0) throw new Error(`${directory} is not whole:\n${faults.join("\n")}`);
  const assets = (await readdir(directory)).filter((name) => name !== NOTES).map((name) => join(directory, name));
  const notes = ["--notes-file", join(directory, NOTES)];
  const kind = tag.includes("-") ? ["--prerelease"] : [];
  await does(["gh", "release", "create", tag, "--verify-tag", "--title", tag, ...notes, ...kind, ...assets.toSorted(), ...files]);
}

const { values, positionals } = parseArgs({
  options: { push: { type: "boolean", default: false }, platforms: { type: "string", default: "linux/amd64,linux/arm64" } },
  allowPositionals: true,
});
const [what, first, ...rest] = positionals;

try {
  if (what === "image" && first !== undefined) await image(first, rest, values.push, values.platforms);
  else if (what === "sign" && first !== undefined) await sign([first, ...rest]);
  else if (what === "release" && first !== undefined && rest[0] !== undefined) await release(first, rest[0], rest.slice(1));
  else throw new Error("say image REPOSITORY TAG…, sign REFERENCE… or release TAG DIR");
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
