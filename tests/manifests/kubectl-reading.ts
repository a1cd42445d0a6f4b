import { writeFileSync } from "node:fs";
import { mkdtemp, realpath, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { prepareBinaries } from "../../sandbox/mod.ts";
import { parseManifests, stringifyObject } from "../../src/manifests/mod.ts";
import { TransporterError } from "../../src/kit/mod.ts";

/** What a reader makes of one manifest: its single object, with each number as the text that stands in the JSON; or a refusal. */
export type Reading = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly message: string };

/** Numbers as tagged texts, so that 9007199254740993 and ...992 differ and no reader's rounding hides another's. */
function withNumberTexts(json: string): unknown {
  return JSON.parse(json, (_key, value: unknown, context?: { readonly source?: string }) => {
    if (typeof value !== "number") return value;
    const text = context?.source ?? "";
    // JSON's two zeros are one number to everybody who reads an object.
    return { number: text === "-0" ? "0" : text };
  });
}

function nameOf(value: unknown): string {
  return (value as { metadata: { name: string } }).metadata.name;
}

export function caseName(index: number): string {
  return `case-${index}`;
}

/**
 * How the real kubectl reads each manifest, offline: `annotate --local` parses and prints and asks no server. Every manifest must hold at
 * most one object, named by `caseName`; a manifest that kubectl refuses does not keep it from reading the others.
 */
export async function readWithKubectl(manifests: readonly string[], extension: "yaml" | "json" = "yaml"): Promise<Reading[]> {
  const readings: Reading[] = [];
  for (let from = 0; from < manifests.length; from += KUBECTL_FILES)
    readings.push(...(await readBatch(manifests.slice(from, from + KUBECTL_FILES), from, extension)));
  return readings;
}

/** Files for one kubectl: few enough that what it prints stays small. */
const KUBECTL_FILES = 1000;

async function readBatch(manifests: readonly string[], from: number, extension: "yaml" | "json"): Promise<Reading[]> {
  const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-test-"));
  try {
    for (const [index, text] of manifests.entries()) writeFileSync(join(directory, `${caseName(from + index)}.${extension}`), text);
    const kubectl = await prepareBinaries().kubectl;
    const child = Bun.spawn([kubectl, "annotate", "--local", "--output=json", "--filename", directory, "read-by=kubectl"], {
      env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: directory, KUBECONFIG: join(directory, "none") },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    const values = new Map<string, unknown>();
    // One indented document after the other: only their own braces stand at the margin.
    for (const text of stdout.split("\n}\n").slice(0, -1)) {
      const value = withNumberTexts(`${text}}`) as { metadata: { annotations?: Record<string, string> } };
      if (value.metadata.annotations?.["read-by"] !== "kubectl") throw new Error(`kubectl did not annotate:\n${text}`);
      delete value.metadata.annotations;
      values.set(nameOf(value), value);
    }
    const complaints = new Map<string, string>();
    for (const line of stderr.split("\n")) {
      const file = /case-\d+\.(?:yaml|json)/.exec(line)?.[0];
      if (file !== undefined) complaints.set(file, line);
    }
    return manifests.map((_text, index) => {
      // It prints what it read before the fault, too.
      const said = complaints.get(`${caseName(from + index)}.${extension}`);
      if (said !== undefined) return { ok: false, message: said };
      const value = values.get(caseName(from + index));
      // Silence about a manifest would make the comparison blind.
      if (value === undefined)
        throw new Error(`kubectl neither read nor refused this manifest:\n${manifests[index]}\n${stderr.slice(0, 2000)}`);
      return { ok: true, value };
    });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** How Transporter reads it. */
export function readWithTransporter(manifest: string): Reading {
  try {
    const [first, ...more] = parseManifests([manifest]);
    if (first === undefined || more.length > 0) throw new Error("a case holds one object");
    return { ok: true, value: withNumberTexts(stringifyObject(first.object)) };
  } catch (error) {
    if (error instanceof TransporterError && error.kind === "invalid") return { ok: false, message: error.message };
    throw error;
  }
}

/** Why we alone refuse, on purpose: kubectl takes what is ambiguous, hostile or lossy in silence. */
const STRICTER = /stands twice|__proto__|follows the end of the document|not UTF-8 text|half of a surrogate pair|hold no object/;

/** Refused because YAML 1.1 and 1.2 understand the structure differently, or because 1.2 does not have it. */
const OTHER_STRUCTURE = new RegExp(
  [
    "is not understood alike by everybody",
    "an unquoted text inside \\[\\] or \\{\\} cannot",
    "a tag inside \\[\\] or \\{\\} needs a value",
    "after an unquoted key needs a space",
    "Block collections are not allowed within flow collections",
    "Comments must be separated from other tokens",
    "Invalid escape sequence \\\\'",
    "Implicit map keys need to be followed by map values",
    "Missing closing 'quote",
    "in block collection must be sufficiently indented",
    "Tags and anchors must be separated from the next token",
    "Could not resolve tag",
    "Unexpected flow-(?:seq|map)-end token",
  ].join("|"),
);

/** True for a refusal of ours alone that is meant; no other may occur in the tables of edge cases. */
export function isMeant(refusal: string): boolean {
  return STRICTER.test(refusal) || OTHER_STRUCTURE.test(refusal);
}

/**
 * The one thing we take and kubectl does not: lines of nothing but blanks and a comment, with a tab among the blanks. They mean nothing,
 * so with such tabs taken out kubectl has to read what we read. Gives the disagreements that this does not explain.
 */
async function withoutBlankTabs(disagreements: readonly Disagreement[], extension: "yaml" | "json"): Promise<Disagreement[]> {
  const clean = disagreements.map(({ manifest, kubectl, transporter }, index) => {
    if (kubectl.ok || !transporter.ok) return "";
    const text = manifest.replaceAll(/^[ \t]*\t[ \t]*(?=$|#)/gm, "");
    return text === manifest ? "" : text.replace(/case-\d+/, caseName(index));
  });
  if (clean.every((text) => text === "")) return [...disagreements];
  // kubectl says nothing about an empty file.
  const theirs = await readWithKubectl(
    clean.map((text) => (text === "" ? "never read" : text)),
    extension,
  );
  return disagreements.filter((_one, index) => {
    const [text = "", kubectl] = [clean[index], theirs[index]];
    if (text === "" || kubectl?.ok !== true) return true;
    const transporter = readWithTransporter(text);
    return !transporter.ok || !Bun.deepEquals(kubectl.value, transporter.value, true);
  });
}

export interface Disagreement {
  readonly manifest: string;
  readonly kubectl: Reading;
  readonly transporter: Reading;
}

export interface Comparison {
  /** Read differently, or read by us and refused by kubectl. */
  readonly disagreements: readonly Disagreement[];
  /** Refused by us and read by kubectl: safe, since nothing is applied, but a nuisance when it is frequent. */
  readonly stricter: readonly Disagreement[];
  readonly bothRead: number;
  readonly bothRefused: number;
}

export async function compareReadings(manifests: readonly string[], extension: "yaml" | "json" = "yaml"): Promise<Comparison> {
  const theirs = await readWithKubectl(manifests, extension);
  const disagreements: Disagreement[] = [];
  const stricter: Disagreement[] = [];
  let [bothRead, bothRefused] = [0, 0];
  for (const [index, manifest] of manifests.entries()) {
    const kubectl = theirs[index];
    if (kubectl === undefined) throw new Error("a reading is missing");
    const transporter = readWithTransporter(manifest);
    if (kubectl.ok && transporter.ok && Bun.deepEquals(kubectl.value, transporter.value, true)) bothRead += 1;
    else if (!kubectl.ok && !transporter.ok) bothRefused += 1;
    else if (!transporter.ok) stricter.push({ manifest, kubectl, transporter });
    else disagreements.push({ manifest, kubectl, transporter });
  }
  return { disagreements: await withoutBlankTabs(disagreements, extension), stricter, bothRead, bothRefused };
}
