import { describe, expect, test } from "bun:test";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import {
  AGENT,
  chartDirectory,
  type ChartName,
  CHARTS,
  chartTest,
  find,
  helm,
  NAMESPACE,
  objects,
  at,
  listAt,
} from "../charts/helm-tools.ts";
import { kubeTest, sharedKube, uniqueName } from "../support/kube.ts";
import { filesOf, prose, readText, ROOT, codeBlocks } from "./markdown.ts";
import { type HelmCommand, helmCommands, leadsTo, valueKeys } from "./helm-commands.ts";

/** Pages that may tell anybody what to type for helm, or which value to set. */
const PAGES = [...filesOf("docs/*.md"), "README.md", "examples/README.md"];
const VALUE_PAGES = ["docs/install.md", "docs/upgrade.md", "docs/operations.md", "docs/troubleshooting.md"];
const SAMPLES = filesOf("examples/helm/{cp,agent}-*.yaml");

function chartOf(path: string): ChartName {
  return basename(path).startsWith("cp-") ? "transporter-cp" : "transporter-agent";
}

/** The objects that a chart makes of it; fails with what helm says. */
async function rendered(chart: ChartName, args: readonly string[], input?: string): Promise<ReturnType<typeof objects>> {
  return objects(
    await helm(["template", chart, chartDirectory(chart), "--namespace", NAMESPACE, ...args], input === undefined ? {} : { input }),
  );
}

async function defaultsOf(chart: ChartName): Promise<unknown> {
  return Bun.YAML.parse(await Bun.file(join(chartDirectory(chart), "values.yaml")).text());
}

/** What a command sets, for helm template: an upgrade that keeps its values is given what the chart needs at least. */
function argsOf({ chart, args, keepsValues }: HelmCommand): string[] {
  const paths = args.map((arg) => (arg.startsWith("examples/") ? join(ROOT, arg) : arg));
  return [...(keepsValues && chart === "transporter-agent" ? AGENT : []), ...paths];
}

describe("what the pages say about the charts", () => {
  chartTest(
    "every helm command renders with the values that it sets",
    async () => {
      const faults: string[] = [];
      let found = 0;
      for (const page of PAGES)
        for (const command of helmCommands(await readText(page))) {
          found += 1;
          await rendered(command.chart, argsOf(command)).catch((error: unknown) =>
            faults.push(`${page}: ${command.text}\n${String(error)}`),
          );
        }
      expect(faults).toEqual([]);
      expect(found).toBeGreaterThan(8);
    },
    120_000,
  );

  chartTest("every block of values renders", async () => {
    let found = 0;
    for (const page of PAGES)
      for (const { language, text } of codeBlocks(await readText(page))) {
        const chart = language === "yaml" ? CHARTS.find((name) => text.startsWith(`# values of ${name}\n`)) : undefined;
        if (chart === undefined) continue;
        found += 1;
        expect((await rendered(chart, ["--values", "-"], text)).length).toBeGreaterThan(3);
      }
    expect(found).toBeGreaterThan(0);
  });

  test("every value that the text names is one of a chart", async () => {
    const defaults = await Promise.all(CHARTS.map(defaultsOf));
    const unknown: string[] = [];
    let found = 0;
    for (const page of VALUE_PAGES)
      for (const key of valueKeys(prose(await readText(page)), defaults)) {
        found += 1;
        if (!defaults.some((values) => leadsTo(values, key))) unknown.push(`${page}: ${key}`);
      }
    expect(unknown).toEqual([]);
    expect(found).toBeGreaterThan(60);
  });

  test("names every file of values, and both units", async () => {
    const texts = (await Promise.all(PAGES.map(readText))).join("\n");
    expect([...SAMPLES, ...filesOf("examples/systemd/*.service")].filter((path) => !texts.includes(path))).toEqual([]);
  });
});

describe("examples/helm", () => {
  for (const path of SAMPLES)
    chartTest(`${basename(path)} says its chart, passes lint, and renders`, async () => {
      const chart = chartOf(path);
      expect(await readText(path)).toMatch(new RegExp(`[Cc]hart ${chart}\\b`));
      await helm(["lint", "--strict", "--kube-version", "1.34.0", chartDirectory(chart), "--values", join(ROOT, path)]);
      const all = await rendered(chart, ["--values", join(ROOT, path)]);
      expect(find(all, "Deployment", chart)).toBeDefined();
    });

  chartTest("each does what it says", async () => {
    const of = (name: string): ReturnType<typeof rendered> =>
      rendered(chartOf(name), ["--values", join(ROOT, "examples/helm", `${name}.yaml`)]);
    const pod = (all: ReturnType<typeof objects>, chart: ChartName): unknown =>
      at(find(all, "Deployment", chart), "spec", "template", "spec");
    const flags = (all: ReturnType<typeof objects>, chart: ChartName): readonly unknown[] =>
      listAt(pod(all, chart), "containers", 0, "args");

    expect(find(await of("cp-small"), "PersistentVolumeClaim", "transporter-cp")).toBeDefined();
    const several = await of("cp-several");
    expect(find(several, "PodDisruptionBudget")).toBeDefined();
    expect(JSON.stringify(flags(several, "transporter-cp"))).toContain("rediss://redis.databases.svc:6379");
    expect(JSON.stringify(flags(await of("cp-from-0.1"), "transporter-cp"))).toContain("agent-1,agent-2");
    for (const name of ["cp-openshift", "agent-openshift"]) {
      const context = at(pod(await of(name), chartOf(name)), "securityContext");
      expect(context).not.toHaveProperty("runAsUser");
      expect(context).toMatchObject({ runAsNonRoot: true });
    }
    for (const name of ["cp-air-gapped", "agent-air-gapped"]) {
      const spec = pod(await of(name), chartOf(name));
      expect(String(at(spec, "containers", 0, "image"))).toStartWith("registry.example.internal/transporter:");
      expect(listAt(spec, "imagePullSecrets")).toEqual([{ name: "registry-example-internal" }]);
    }
    expect(flags(await of("agent-read-only"), "transporter-agent")).toContain("--read-only");
    expect(flags(await of("agent-namespaced"), "transporter-agent")).not.toContain("--read-only");
    expect(JSON.stringify(await of("agent-cluster-admin"))).toContain('"cluster-admin"');
  });

  kubeTest("restore-pod.yaml is a pod that the restricted standard lets run", async () => {
    const kube = await sharedKube();
    const name = uniqueName("restore");
    await kube.kubectl(["create", "namespace", name]);
    try {
      await kube.kubectl(["label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted"]);
      const pod = (await readText("examples/helm/restore-pod.yaml")).replace("namespace: transporter-system", `namespace: ${name}`);
      expect(await kube.kubectl(["create", "--dry-run=server", "--filename", "-", "--output=name"], { input: pod })).toContain(
        "pod/transporter-restore",
      );
    } finally {
      await kube.tryKubectl(["delete", "namespace", name, "--wait=false"]);
    }
  });
});

const ANALYZE = Bun.which("systemd-analyze");

describe("examples/systemd", () => {
  test.skipIf(ANALYZE === null)(
    "its units are well formed, and leave the program little to do harm with",
    async () => {
      const directory = await mkdtemp(join(tmpdir(), "transporter-units-"));
      try {
        // Whoever verifies a unit has to have its program.
        const program = join(directory, "transporter");
        await writeFile(program, "#!/bin/sh\n");
        await chmod(program, 0o755);
        for (const path of filesOf("examples/systemd/*.service")) {
          const unit = join(directory, basename(path));
          await Bun.write(unit, (await readText(path)).replaceAll("/usr/local/bin/transporter", program));
          for (const args of [
            ["verify", "--man=no", unit],
            // Tenths: 1.3 is what docs/install.md says.
            ["security", "--offline=true", "--threshold=13", unit],
          ]) {
            const child = Bun.spawn([ANALYZE ?? "", ...args], { stdout: "pipe", stderr: "pipe" });
            const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
            expect([path, code, args[0] === "verify" ? out + err : ""]).toEqual([path, 0, ""]);
          }
        }
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    },
    30_000,
  );
});

describe("the reader of these tests", () => {
  test("finds commands, their values, and keys in the text", () => {
    const page = [
      "```bash",
      "helm install cp oci://ghcr.io/x/charts/transporter-cp \\",
      "  --namespace transporter-system --create-namespace --set 'security.names={a,b}' --set a=\"$HASH\"",
      "helm upgrade agent ./transporter-agent-0.2.0.tgz --reset-then-reuse-values --values examples/helm/agent.yaml",
      "helm repo list",
      "```",
    ].join("\n");
    expect(helmCommands(page).map(({ chart, args, keepsValues }) => ({ chart, args, keepsValues }))).toEqual([
      { chart: "transporter-cp", args: ["--set", "security.names={a,b}", "--set", `a=sha256:${"0".repeat(64)}`], keepsValues: false },
      { chart: "transporter-agent", args: ["--values", "examples/helm/agent.yaml"], keepsValues: true },
    ]);
    const values = { service: { type: "", annotations: {} }, cp: { redis: { addr: "" } } };
    expect(valueKeys("`service.type=NodePort`, `service.*`, `cp.db`, `nothing.of.ours`, `cp.redis.adr`", [values])).toEqual([
      "service.type",
      "service",
      "cp.redis.adr",
    ]);
    expect(leadsTo(values, "service.type")).toBe(true);
    expect(leadsTo(values, "service.annotations.mine")).toBe(true);
    expect(leadsTo(values, "cp.redis.adr")).toBe(false);
    expect(() => helmCommands("```sh\nhelm install x ./chart --atomically\n```")).toThrow("--atomically");
  });
});
