import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { KUBECONFORM } from "../../sandbox/helm/mod.ts";
import type { Cluster } from "../support/kube.ts";
import { chartKube, pathOf, type Resource, resources } from "./chart-cluster.ts";
import {
  at,
  CHARTS,
  chartDirectory,
  chartKubeTest,
  type ChartName,
  chartTest,
  documents,
  helm,
  isRecord,
  type Json,
  listAt,
  NAMESPACE,
  render,
  scratch,
} from "./helm-tools.ts";
import { schemaLocation, writeSchemas } from "./openapi-schemas.ts";

const VALUES = join(import.meta.dir, "values");

interface Case {
  readonly name: string;
  readonly chart: ChartName;
  readonly args: readonly string[];
}

const FILES = readdirSync(VALUES).filter((file) => file.endsWith(".yaml"));
/** What the docs tell people to begin with. */
const EXAMPLES = join(import.meta.dir, "../../examples/helm");
const CASES: readonly Case[] = [
  ...CHARTS.map((chart) => ({ name: `${chart} by default`, chart, args: [] })),
  ...FILES.map((file) => caseOf(VALUES, file)),
  ...readdirSync(EXAMPLES)
    .filter((file) => /^(cp|agent)-.*\.yaml$/.test(file))
    .map((file) => caseOf(EXAMPLES, file)),
];

function caseOf(directory: string, file: string): Case {
  const name = directory === EXAMPLES ? `examples/helm/${file}` : file;
  return { name, chart: file.startsWith("cp-") ? "transporter-cp" : "transporter-agent", args: [`--values=${join(directory, file)}`] };
}

/** Rendered once for all tests here. */
const rendered = new Map<string, Promise<string>>();
function textOf(of: Case): Promise<string> {
  const known = rendered.get(of.name);
  if (known !== undefined) return known;
  // The values that install the definitions' objects are for clusters that have them.
  const versions = [
    "monitoring.coreos.com/v1",
    "gateway.networking.k8s.io/v1",
    "gateway.networking.k8s.io/v1/BackendTLSPolicy",
    "cert-manager.io/v1",
  ];
  const text = render(of.chart, [...of.args, ...versions.map((version) => `--api-versions=${version}`)]);
  rendered.set(of.name, text);
  return text;
}

test("values files are of one of the two charts", () => {
  expect(FILES.filter((file) => !/^(cp|agent)-/.test(file))).toEqual([]);
  expect(FILES.filter((file) => file.startsWith("cp-")).length).toBeGreaterThan(10);
  expect(FILES.filter((file) => file.startsWith("agent-")).length).toBeGreaterThan(10);
});

for (const chart of CHARTS)
  chartTest(`helm lint --strict: ${chart}, with all values`, async () => {
    const directory = chartDirectory(chart);
    for (const { args } of CASES.filter((one) => one.chart === chart)) {
      const out = await helm(["lint", "--strict", directory, ...args]);
      expect(out).toContain("0 chart(s) failed");
    }
  });

chartKubeTest("kubeconform -strict accepts all that is rendered, by the schemas of this very API server", async () => {
  const directory = scratch("schemas");
  expect(await writeSchemas(await chartKube(), directory)).toBeGreaterThan(100);
  const manifests = scratch("rendered");
  for (const [index, one] of CASES.entries()) await Bun.write(join(manifests, `${index}.yaml`), await textOf(one));
  const good = await kubeconform(directory, manifests);
  expect(good.faults).toEqual([]);
  expect(good.valid).toBeGreaterThan(CASES.length * 5);
  // It does see what is wrong.
  const bad = scratch("wrong");
  const first = await textOf(CASES[1] ?? { name: "", chart: "transporter-agent", args: [] });
  await Bun.write(join(bad, "field.yaml"), first.replace("revisionHistoryLimit:", "revisionHistoryLimits:"));
  await Bun.write(join(bad, "type.yaml"), first.replace(/replicas: 1$/m, "replicas: one"));
  expect((await kubeconform(directory, bad)).faults).toHaveLength(2);
});

async function kubeconform(schemas: string, directory: string): Promise<{ readonly faults: readonly string[]; readonly valid: number }> {
  const child = Bun.spawn(
    [
      await KUBECONFORM.prepare().kubeconform,
      "-strict",
      "-output=json",
      "-summary",
      `-schema-location=${schemaLocation(schemas)}`,
      directory,
    ],
    { stdout: "pipe", stderr: "pipe" },
  );
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  const report: unknown = JSON.parse(out);
  const list = at(report, "resources");
  if (!Array.isArray(list) || err !== "") throw new Error(`kubeconform: ${err}${out}`);
  return {
    faults: list.map((fault) => ["filename", "kind", "name", "msg"].map((key) => String(at(fault, key))).join(": ")),
    valid: Number(at(report, "summary", "valid")),
  };
}

for (const one of CASES)
  chartKubeTest(`the API server takes, and lets run under Pod Security "restricted": ${one.name}`, async () => {
    const kube = await chartKube();
    const known = await resources(kube);
    const faults: string[] = [];
    for (const document of documents(await textOf(one))) faults.push(...(await dryRun(kube, known, document)));
    expect(faults).toEqual([]);
  });

chartKubeTest("a pod that asks for more than it may is refused by the dry run, or these tests would hold nothing", async () => {
  const kube = await chartKube();
  const known = await resources(kube);
  const text = await render("transporter-agent", ["--set", "securityContext.allowPrivilegeEscalation=true"]);
  const faults: string[] = [];
  for (const document of documents(text)) faults.push(...(await dryRun(kube, known, document)));
  expect(faults.join("\n")).toContain("violates PodSecurity");
});

/** What the API server has against a document: refusals and warnings, and those against a pod of its template. */
async function dryRun(kube: Cluster, known: readonly Resource[], document: string): Promise<readonly string[]> {
  const parsed: unknown = Bun.YAML.parse(document);
  const [groupVersion, kind, name] = [at(parsed, "apiVersion"), at(parsed, "kind"), at(parsed, "metadata", "name")].map(String);
  const resource = known.find((one) => one.groupVersion === groupVersion && one.kind === kind);
  if (resource === undefined || name === undefined) return [`${kind} ${name}: not served`];
  // Namespaces of others are theirs to make.
  const path = pathOf(resource, NAMESPACE, name);
  const own = at(parsed, "metadata", "namespace");
  if (resource.namespaced && typeof own !== "string") return [`${kind} ${name}: says no namespace`];
  const there = document.replace(/^( {2}namespace: ).*$/m, `$1${NAMESPACE}`);
  // The account is not there in a dry run; nothing else of a pod is changed.
  const body = kind === "Pod" ? there.replace(/^( {2}serviceAccountName: ).*$/m, "$1default") : there;
  const answer = await send(kube, "PATCH", `${path}?dryRun=All&fieldManager=charts&force=true&fieldValidation=Strict`, body);
  const about = (what: string): string => `${kind} ${name}: ${what}`;
  if (answer.problem !== undefined) return [about(answer.problem), ...answer.warnings];
  const template = at(answer.object, "spec", "template");
  if (!isRecord(template) || at(template, "spec", "containers") === undefined) return answer.warnings.map(about);
  const podSpec = isRecord(template["spec"]) ? template["spec"] : {};
  const claims = listAt(answer.object, "spec", "volumeClaimTemplates").map((claim) => ({
    name: at(claim, "metadata", "name"),
    emptyDir: {},
  }));
  const spec = {
    ...podSpec,
    volumes: [...listAt(podSpec, "volumes"), ...claims],
    serviceAccountName: "default",
    serviceAccount: "default",
  };
  const pod = { apiVersion: "v1", kind: "Pod", metadata: { generateName: "pod-", labels: at(template, "metadata", "labels") ?? {} }, spec };
  const created = await send(kube, "POST", `/api/v1/namespaces/${NAMESPACE}/pods?dryRun=All&fieldValidation=Strict`, JSON.stringify(pod));
  return [...answer.warnings, ...created.warnings, ...(created.problem === undefined ? [] : [created.problem])].map(about);
}

async function send(
  kube: Cluster,
  method: string,
  path: string,
  body: string,
): Promise<{ readonly problem?: string; readonly object: Json; readonly warnings: readonly string[] }> {
  const response = await fetch(`${kube.url}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${kube.adminToken}`,
      "content-type": method === "PATCH" ? "application/apply-patch+yaml" : "application/json",
    },
    body,
    tls: { ca: kube.caPem },
  });
  const object: unknown = await response.json();
  const warning = response.headers.get("warning");
  return {
    object: isRecord(object) ? object : {},
    warnings: warning === null ? [] : [warning],
    ...(response.ok ? {} : { problem: String(at(object, "message")) }),
  };
}
