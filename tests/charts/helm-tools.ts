import { mkdtempSync } from "node:fs";
import { realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "bun:test";
import { HELM, KUBECONFORM } from "../../sandbox/helm/mod.ts";
import { SKIP_KUBE } from "../support/kube.ts";
import { SKIP_REDIS } from "../support/redis.ts";

const ROOT = resolve(import.meta.dir, "../..");
export const CHARTS = ["transporter-cp", "transporter-agent"] as const;
export type ChartName = (typeof CHARTS)[number];

export function chartDirectory(chart: ChartName): string {
  return join(ROOT, "helm", chart);
}

const IN_CI = !["", "0", "false"].includes(process.env["CI"] ?? "");
const MISSING = [...(await HELM.missing()), ...(await KUBECONFORM.missing())];
const SKIP = MISSING.length > 0 && !IN_CI;
if (SKIP) console.warn(`\nSKIPPED: tests of the charts. ${MISSING.join(", ")} missing; \`bun run test\` builds them once.\n`);

/** `test` for what needs helm. Never skipped under CI. */
export function chartTest(name: string, run: () => Promise<void>, timeoutMs = 60_000): void {
  test.skipIf(SKIP)(name, run, timeoutMs);
}

/** `chartTest` for what needs a real Redis as well. */
export function chartRedisTest(name: string, run: () => Promise<void>, timeoutMs = 60_000): void {
  test.skipIf(SKIP || SKIP_REDIS)(name, run, timeoutMs);
}

/** `chartTest` for what needs a real API server as well. */
export function chartKubeTest(name: string, run: () => Promise<void>, timeoutMs = 120_000): void {
  test.skipIf(SKIP || SKIP_KUBE)(name, run, timeoutMs);
}

/** `chartKubeTest` beside others of its file: helm waits for most of its time. */
export function besideChartTest(name: string, run: () => Promise<void>, timeoutMs = 300_000): void {
  test.concurrent.skipIf(SKIP || SKIP_KUBE)(name, run, timeoutMs);
}

export interface HelmRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface HelmOptions {
  readonly kubeconfig?: string;
  /** Standard input, for `--values -`. */
  readonly input?: string;
}

// Nothing of the user's helm: neither its repositories nor its plugins, and no kubeconfig but the one that is named.
const HOME = mkdtempSync(join(await realpath(tmpdir()), "transporter-charts-"));
process.on("exit", () => void rm(HOME, { recursive: true, force: true }));

/** helm, whatever it answers. */
export async function tryHelm(args: readonly string[], { kubeconfig, input }: HelmOptions = {}): Promise<HelmRun> {
  const child = Bun.spawn([await HELM.prepare({ names: ["helm"] }).helm, ...args], {
    cwd: HOME,
    env: {
      PATH: process.env["PATH"] ?? "/usr/bin:/bin",
      HOME,
      HELM_CACHE_HOME: join(HOME, "cache"),
      HELM_CONFIG_HOME: join(HOME, "config"),
      HELM_DATA_HOME: join(HOME, "data"),
      KUBECONFIG: kubeconfig ?? join(HOME, "no-kubeconfig"),
    },
    stdin: input === undefined ? "ignore" : Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, out, err };
}

/** helm's standard output; fails unless it ends with 0. */
export async function helm(args: readonly string[], options: HelmOptions = {}): Promise<string> {
  const { code, out, err } = await tryHelm(args, options);
  if (code !== 0) throw new Error(`helm ${args.join(" ")} ended with ${code}: ${err.trim()}`);
  return out;
}

/** A directory for what a test writes; goes with the process. */
export function scratch(name: string): string {
  return mkdtempSync(join(HOME, `${name}-`));
}

export const NAMESPACE = "transporter-system";

/** The least that the agent's chart wants to be told. */
export const AGENT = ["--set", "agent.agentID=shop-1,agent.cpURL=https://cp.example.com"] as const;

export async function render(chart: ChartName, args: readonly string[], input?: string, from = chartDirectory(chart)): Promise<string> {
  const set = chart === "transporter-agent" && !args.some((arg) => arg.startsWith("--values")) ? AGENT : [];
  return helm(["template", chart, from, "--namespace", NAMESPACE, ...set, ...args], input === undefined ? {} : { input });
}

export type Json = Record<string, unknown>;

export function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What a path leads to; undefined where it leads nowhere. */
export function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  let current: unknown = value;
  for (const step of path) {
    if (Array.isArray(current) && typeof step === "number") current = current[step];
    else if (isRecord(current)) current = current[step];
    else return undefined;
  }
  return current;
}

/** The text, or an empty one. */
export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

export function listAt(value: unknown, ...path: readonly (string | number)[]): readonly unknown[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}

/** The documents of a stream, as texts; without those that are empty. */
export function documents(text: string): readonly string[] {
  return text.split(/^---$/m).filter((document) => document.split("\n").some((line) => line.trim() !== "" && !line.startsWith("#")));
}

export function objects(text: string): readonly Json[] {
  return documents(text).map((document) => {
    const parsed: unknown = Bun.YAML.parse(document);
    if (!isRecord(parsed)) throw new Error(`not an object: ${document.slice(0, 200)}`);
    return parsed;
  });
}

export function find(all: readonly Json[], kind: string, name?: string): Json | undefined {
  return all.find((object) => object["kind"] === kind && (name === undefined || at(object, "metadata", "name") === name));
}
