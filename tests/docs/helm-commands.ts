import { codeBlocks } from "./markdown.ts";
import { CHARTS, type ChartName } from "../charts/helm-tools.ts";

/** A `helm install` or `helm upgrade` of a page. */
export interface HelmCommand {
  readonly chart: ChartName;
  /** `--set` and `--values` with what follows. */
  readonly args: readonly string[];
  /** What the release has already counts too. */
  readonly keepsValues: boolean;
  readonly text: string;
}

const WITH_ARGUMENT = new Set(["--namespace", "--kube-context", "--version", "--timeout", "-n"]);
const ALONE = new Set(["--create-namespace", "--wait", "--install", "--atomic", "--reset-then-reuse-values"]);
const VALUES = new Set(["--set", "--set-string", "--values", "-f"]);
/** What a page has in a variable by then. */
const VARIABLES: Readonly<Record<string, string>> = { HASH: `sha256:${"0".repeat(64)}`, CP: "https://cp.example.com" };

/** The words of a line as a shell takes them, as far as pages go: quotes, and variables in double ones or none. */
function wordsOf(line: string): string[] {
  const words: string[] = [];
  for (const [match] of line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/g))
    words.push(
      match.replaceAll(
        /'([^']*)'|"([^"]*)"|\$(\w+)/g,
        (_all, single: string | undefined, double: string | undefined, name: string | undefined) =>
          name === undefined
            ? (single ?? (double ?? "").replaceAll(/\$(\w+)/g, (_one, inner: string) => VARIABLES[inner] ?? ""))
            : (VARIABLES[name] ?? ""),
      ),
    );
  return words;
}

function commandOf(line: string): HelmCommand | undefined {
  const [program, verb, , reference = "", ...rest] = wordsOf(line);
  if (program !== "helm" || (verb !== "install" && verb !== "upgrade")) return undefined;
  const chart = CHARTS.find((name) => reference.includes(name));
  if (chart === undefined && !reference.includes("chart")) throw new Error(`no chart of ours: ${line}`);
  const args: string[] = [];
  for (let index = 0; index < rest.length; index += 1) {
    const word = rest[index] ?? "";
    if (VALUES.has(word)) args.push(word, rest[(index += 1)] ?? "");
    else if (WITH_ARGUMENT.has(word)) index += 1;
    else if (!ALONE.has(word)) throw new Error(`${word} is not known to this reader: ${line}`);
  }
  return chart === undefined ? undefined : { chart, args, keepsValues: rest.includes("--reset-then-reuse-values"), text: line };
}

export function helmCommands(markdown: string): HelmCommand[] {
  return codeBlocks(markdown)
    .filter(({ language }) => language === "bash" || language === "sh")
    .flatMap(({ text }) => text.replaceAll(/\\\n\s*/g, " ").split("\n"))
    .flatMap((line) => commandOf(line.trim()) ?? []);
}

/** What looks like a value and is none: files, hosts, resources. */
const NO_VALUES = /\.(db|crt|key|json|example\.com|yaml)$|^cp\.db|^helm\./;

/** Paths of values that stand as code in a text, each that begins as one of the charts' values does. */
export function valueKeys(text: string, defaults: readonly unknown[]): string[] {
  const roots = new Set(defaults.flatMap((values) => (typeof values === "object" && values !== null ? Object.keys(values) : [])));
  return [...text.matchAll(/`([a-z][A-Za-z0-9]*(?:\.(?:[A-Za-z0-9]+|\*))+)(?:=[^`]*)?`/g)]
    .map((match) => match[1] ?? "")
    .filter((key) => roots.has(key.split(".")[0] ?? "") && !NO_VALUES.test(key))
    .map((key) => key.replace(/\.\*$/, ""));
}

/** Whether a path is one of these values; below a map that is free, all are. */
export function leadsTo(values: unknown, path: string): boolean {
  let current = values;
  for (const step of path.split(".")) {
    if (typeof current !== "object" || current === null) return false;
    if (!Array.isArray(current) && Object.keys(current).length === 0) return true;
    if (!Object.hasOwn(current, step)) return false;
    current = (current as Record<string, unknown>)[step];
  }
  return true;
}
