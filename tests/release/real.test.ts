import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { source } from "../../scripts/build-target.ts";
import { packageCharts } from "../../scripts/charts.ts";
import { MANIFEST, readManifest } from "../../scripts/release/manifest.ts";
import { packRelease } from "../../scripts/release/pack.ts";
import { faultsOf, hostPlatform } from "../../scripts/release/verify.ts";
import { versionOf } from "../../scripts/release/versions.ts";
import { chartTest } from "../charts/helm-tools.ts";
import { compiledTest, EXECUTABLE_PATH } from "../support/process.ts";

let base: string;
beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), "transporter-release-real-"));
});
afterAll(() => rm(base, { recursive: true, force: true }));

async function directory(name: string): Promise<string> {
  await mkdir(join(base, name));
  return join(base, name);
}

compiledTest(
  "the executable of this machine comes out of its archive, runs, and says the version of the release",
  async () => {
    const platform = hostPlatform();
    if (platform === undefined) throw new Error(`no release is made for ${process.platform} on ${process.arch}`);
    const version = await versionOf();
    // Of the executable itself, which may have been built before the newest commit.
    const said = JSON.parse(await new Response(Bun.spawn([EXECUTABLE_PATH, "version", "-o", "json"]).stdout).text()) as {
      readonly client: { readonly commit: string };
    };
    const { commit } = said.client;
    const made = await directory("executable");
    const executables = new Map([[platform, EXECUTABLE_PATH]]);
    await packRelease(made, { version, commit, atSeconds: 0, executables, images: new Map(), charts: [], notes: "Notes.\n" });
    expect(await faultsOf(made, await directory("unpacked"))).toEqual([]);
    const { artifacts } = readManifest(await Bun.file(join(made, MANIFEST)).text());
    expect(artifacts[0]).toMatchObject({ kind: "executable", platform, name: `transporter-${version}-${platform}.tar.gz` });
    expect(artifacts[0]?.bytes).toBeGreaterThan(20_000_000);
  },
  180_000,
);

chartTest(
  "charts as they are packed make a whole release, of the same bytes twice",
  async () => {
    const [version, { commit, epoch }] = [await versionOf(), await source()];
    const given = {
      version,
      commit,
      atSeconds: epoch,
      executables: new Map<string, string>(),
      images: new Map<string, string>(),
      notes: "Notes.\n",
    };
    const manifests = [];
    const charts = await packageCharts(join(base, "charts"));
    for (const round of ["one", "two"]) {
      const made = await directory(round);
      await packRelease(made, { ...given, charts });
      expect(await faultsOf(made, base)).toEqual([]);
      manifests.push(readManifest(await Bun.file(join(made, MANIFEST)).text()));
    }
    expect(manifests[1]).toEqual(manifests[0]);
    expect(manifests[0]?.artifacts.map(({ kind }) => kind)).toEqual(["chart", "chart", "notes"]);
  },
  120_000,
);

test("what a release needs is named where it is not there", async () => {
  const child = Bun.spawn([process.execPath, "scripts/release.ts", "--targets", "amiga", "--out", join(base, "never")], {
    cwd: join(import.meta.dir, "../.."),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
  expect({ code, errors }).toEqual({ code: 1, errors: expect.stringContaining("There is no target amiga. Targets: linux-amd64") });
});
