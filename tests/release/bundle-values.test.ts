import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "bun:test";
import { controlPlaneValues, agentValues } from "../../scripts/release/bundle.ts";
import { versionOf } from "../../scripts/release/versions.ts";
import { at, chartTest, objects, render } from "../charts/helm-tools.ts";

chartTest("the values that a site without internet finds in its bundle are what the charts take", async () => {
  const version = await versionOf();
  const directory = await mkdtemp(join(tmpdir(), "transporter-bundle-values-"));
  try {
    for (const [chart, text] of [
      ["transporter-cp", controlPlaneValues(version)],
      ["transporter-agent", agentValues(version)],
    ] as const) {
      const path = join(directory, `${chart}.yaml`);
      await Bun.write(path, text);
      expect(await readFile(path, "utf8")).toContain(`${chart}-${version}.tgz`);
      const pods = objects(await render(chart, [`--values=${path}`])).filter(({ kind }) => kind === "Deployment");
      expect(pods.map((one) => at(one, "spec", "template", "spec", "containers", 0, "image"))).toEqual([
        `registry.example.internal/transporter:${version}`,
      ]);
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
