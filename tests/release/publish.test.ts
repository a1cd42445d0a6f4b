import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { basesOf, buildCommand, byDigest, digestOf } from "../../scripts/release/publish-image.ts";
import { versionOf } from "../../scripts/release/versions.ts";
import { ROOT } from "../docs/markdown.ts";

const DIGEST = `sha256:${"d".repeat(64)}`;
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "transporter-publish-test-"));
  // Each writes down how it was called. What docker answers depends on what it is asked for.
  const program = (body: string): string => `#!/bin/sh\necho "\${0##*/} $*" >> '${join(directory, "calls")}'\n${body}\n`;
  const docker = `case "$*" in
*imagetools*) echo '"${DIGEST}"' ;;
*) while [ "$1" != --metadata-file ]; do shift; done; echo '{"containerimage.digest":"${DIGEST}"}' > "$2" ;;
esac`;
  for (const [name, body] of Object.entries({ docker, cosign: "", gh: "" })) {
    await Bun.write(join(directory, name), program(body));
    await chmod(join(directory, name), 0o755);
  }
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function publish(
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly text: string; readonly calls: string[]; readonly outputs: string }> {
  const [calls, outputs] = [join(directory, "calls"), join(directory, "outputs")];
  await Bun.write(calls, "");
  await Bun.write(outputs, "");
  const child = Bun.spawn([process.execPath, "scripts/publish.ts", ...args], {
    cwd: ROOT,
    env: { ...process.env, PATH: `${directory}${delimiter}${process.env["PATH"] ?? ""}`, GITHUB_OUTPUT: outputs },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const lines = (await readFile(calls, "utf8")).split("\n").filter((line) => line !== "");
  return { code, text: out + errors, calls: lines, outputs: await readFile(outputs, "utf8") };
}

describe("an image", () => {
  test("is built for each platform upon bases by digest, and its digest told to the next step", async () => {
    const { code, calls, outputs, text } = await publish("image", "registry.example/transporter", "1.0", "edge", "--push");
    expect({ code, text }).toEqual({ code: 0, text: expect.stringContaining(`registry.example/transporter@${DIGEST}\n`) });
    expect(outputs).toBe(`digest=${DIGEST}\n`);
    const build = calls.at(-1) ?? "";
    for (const part of [
      "--platform linux/amd64,linux/arm64",
      `--build-arg VERSION=${await versionOf()}`,
      "--tag registry.example/transporter:1.0 --tag registry.example/transporter:edge",
      "--provenance=mode=max --sbom=true",
      "type=image,push=true",
    ])
      expect(build).toContain(part);
    const bases = [...build.matchAll(/--build-arg \w+_IMAGE=(\S+)/g)].map(([, base]) => base);
    expect(bases.length).toBeGreaterThan(0);
    for (const base of bases) expect(base).toEndWith(`@${DIGEST}`);
    expect(calls.length).toBe(bases.length + 1);
  });

  test("is not pushed unless that is said", async () => {
    const { calls } = await publish("image", "registry.example/transporter", "edge");
    expect(calls.at(-1)).toContain("push=false");
  });

  test("needs a tag, a base that is named, and a digest that is one", async () => {
    expect(await publish("image", "registry.example/transporter")).toMatchObject({ code: 1, calls: [], text: "an image needs a tag\n" });
    expect([...basesOf("ARG A=b\nARG BASE_IMAGE=x/y:z\nARG OTHER_IMAGE=q\n")]).toEqual([
      ["BASE_IMAGE", "x/y:z"],
      ["OTHER_IMAGE", "q"],
    ]);
    expect(() => basesOf("FROM x\n")).toThrow("no argument");
    const never = (): never => {
      throw new Error("asked");
    };
    expect(await byDigest(`x@${DIGEST}`, never)).toBe(`x@${DIGEST}`);
    await expect(byDigest("x:y", () => Promise.resolve("null\n"))).rejects.toThrow("has no digest");
    expect(() => digestOf("{}")).toThrow("no digest");
    const publication = { repository: "r", tags: ["t"], push: false, platforms: ["linux/arm64"], version: "1", commit: "c", atSeconds: 0 };
    expect(buildCommand(publication, new Map(), "m")).toContain("CREATED=1970-01-01T00:00:00Z");
  });
});

test("only what is named by its digest is signed", async () => {
  expect(await publish("sign", "registry.example/transporter:1.0")).toMatchObject({ code: 1, calls: [] });
  const one = `registry.example/transporter@${DIGEST}`;
  expect(await publish("sign", one)).toMatchObject({ code: 0, calls: [`cosign sign --yes --recursive ${one}`] });
});

test("a release that is not whole, or of another version, is not published", async () => {
  expect(await publish("release", "v9.9.9", directory)).toMatchObject({
    code: 1,
    calls: [],
    text: expect.stringContaining("the tag is v9.9.9"),
  });
  expect(await publish("nonsense")).toMatchObject({ code: 1, calls: [], text: expect.stringContaining("say image") });
});
