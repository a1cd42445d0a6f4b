import { expect, test } from "bun:test";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Children } from "../../sandbox/mod.ts";
import { HELM } from "../../sandbox/helm/mod.ts";
import { packageCharts, pushCharts, timeless } from "../../scripts/charts.ts";
import { eventually } from "../support/eventually.ts";
import { chartKubeTest, CHARTS, chartTest, documents, render, scratch } from "./helm-tools.ts";
import { site, untilNothingIsLeft } from "./releases.ts";

const VERSION = String((await Bun.file(join(import.meta.dir, "../../package.json")).json()).version);

chartTest("packing is repeatable to the byte, and what is packed renders as what lies there", async () => {
  const [one, two] = [scratch("packed"), scratch("packed")];
  const [first, second] = [await packageCharts(one), await packageCharts(two)];
  expect(first.map((path) => path.slice(one.length + 1))).toEqual(CHARTS.map((chart) => `${chart}-${VERSION}.tgz`));
  for (const [index, path] of first.entries())
    expect(Bun.hash(await Bun.file(path).bytes())).toBe(Bun.hash(await Bun.file(second[index] ?? "").bytes()));
  for (const chart of CHARTS) {
    const here = await render(chart, []);
    const packed = await render(chart, [], undefined, join(one, `${chart}-${VERSION}.tgz`));
    expect(documents(packed)).toEqual(documents(here));
    expect(documents(packed).length).toBeGreaterThan(5);
  }
});

test("timeless refuses what is no tar archive", () => {
  expect(() => timeless(new TextEncoder().encode("x".repeat(1024)), 0)).toThrow("not a tar archive");
});

chartTest("an archive has nothing but the chart", async () => {
  const directory = scratch("packed");
  for (const path of await packageCharts(directory)) {
    const names = namesIn(gunzipSync(await Bun.file(path).bytes()));
    const chart = path.slice(directory.length + 1).replace(/-\d.*/, "");
    expect(names.filter((name) => !name.startsWith(`${chart}/`))).toEqual([]);
    for (const file of ["Chart.yaml", "values.yaml", "values.schema.json", "README.md", "templates/NOTES.txt"])
      expect(names).toContain(`${chart}/${file}`);
    expect(names.filter((name) => /\.(swp|bak|orig|tgz)$|\/\.git/.test(name))).toEqual([]);
  }
});

chartKubeTest(
  "pushed to an OCI registry, and installed from it",
  async () => {
    await using here = await site();
    await using registry = await startRegistry();
    const pushed = await pushCharts(`oci://127.0.0.1:${registry.port}/charts`, scratch("pushed"), true);
    expect(pushed.map((name) => name.replace(/@.*/, ""))).toEqual(CHARTS.map((chart) => `127.0.0.1:${registry.port}/charts/${chart}`));
    const install = (release: string, chart: string, set: string): Promise<string> =>
      here.helm(
        "install",
        release,
        `oci://127.0.0.1:${registry.port}/charts/${chart}`,
        `--version=${VERSION}`,
        "--plain-http",
        "--wait",
        "--set",
        set,
      );
    const name = here.namespace;
    await install("cp", "transporter-cp", `fullnameOverride=${name}-cp,persistence.enabled=false`);
    await install(
      "agent",
      "transporter-agent",
      `fullnameOverride=${name}-agent,persistence.enabled=false,agent.agentID=a,agent.cpURL=https://cp`,
    );
    expect(await here.helm("list", "--short")).toBe("agent\ncp\n");
    for (const release of ["agent", "cp"]) await here.helm("uninstall", release, "--wait");
    await untilNothingIsLeft(here);
  },
  240_000,
);

async function startRegistry(): Promise<AsyncDisposable & { readonly port: number }> {
  const children = new Children(scratch("registry"));
  await children.spawn("registry", [await HELM.prepare({ names: ["registry"] }).registry, "--port=0"]);
  const port = await eventually(async () => /serving on port (\d+)/.exec(await Bun.file(children.logPath("registry")).text())?.[1], {
    timeoutMs: 20_000,
  });
  return { port: Number(port), [Symbol.asyncDispose]: () => children.stop() };
}

function namesIn(tar: Uint8Array): readonly string[] {
  const names: string[] = [];
  const field = (from: number, length: number): string =>
    (new TextDecoder("latin1").decode(tar.subarray(from, from + length)).split("\0")[0] ?? "").trim();
  for (let at = 0; at < tar.length && tar[at] !== 0;) {
    const prefix = field(at + 345, 155);
    names.push(prefix === "" ? field(at, 100) : `${prefix}/${field(at, 100)}`);
    at += 512 + Math.ceil(Number.parseInt(field(at + 124, 12), 8) / 512) * 512;
  }
  return names;
}
