import { describe, expect } from "bun:test";
import { type Arbitrary, sample } from "fast-check";
import { kubeTest } from "../support/kube.ts";
import { PROVE } from "../support/prove.ts";
import { SCALARS, STRUCTURES, TAGS } from "./edge-cases.ts";
import { brokenDocument, jsonDocument, plainText, wholeDocument } from "./generators.ts";
import { caseName, compareReadings, type Comparison, type Disagreement, isMeant } from "./kubectl-reading.ts";

/** Fixed in an ordinary run, so that it fails for changes and not by luck; a full run looks somewhere new every time. */
const SEED = PROVE ? Date.now() % 2_147_483_647 : 20_260_210;
const BATCH = 2_000;
const TIMEOUT_MS = PROVE ? 900_000 : 120_000;

/** Around the field x, whose text begins right after its colon. */
function manifest(index: number, field: string): string {
  return `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: ${caseName(index)}\nx:${field}`;
}

function jsonManifest(index: number, value: string): string {
  return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"${caseName(index)}"},"x":${value}}`;
}

function expectNone(what: string, found: readonly Disagreement[]): void {
  const shown = found.slice(0, 5).map((one) => JSON.stringify(one, undefined, 2));
  expect(shown, `seed ${SEED}: ${found.length} ${what}`).toEqual([]);
}

/** For the tables: everything agrees, and each refusal of ours alone is one that is meant. */
function expectAgreement(comparison: Comparison): void {
  expectNone("disagreements", comparison.disagreements);
  expectNone(
    "refusals that nobody meant",
    comparison.stricter.filter(({ transporter }) => transporter.ok || !isMeant(transporter.message)),
  );
}

/** For generated manifests: everything that both read agrees, and what we alone refuse is rare. */
async function compareGenerated(
  texts: Arbitrary<string>,
  count: number,
  maxStricterShare: number,
  wrap: (index: number, text: string) => string,
  extension: "yaml" | "json" = "yaml",
): Promise<{ readonly read: number; readonly refused: number }> {
  let [read, refused, stricter] = [0, 0, 0];
  for (let done = 0; done < count; done += BATCH) {
    const size = Math.min(BATCH, count - done);
    const manifests = sample(texts, { numRuns: size, seed: SEED + done }).map((text, index) => wrap(index, text));
    const comparison = await compareReadings(manifests, extension);
    expectNone("disagreements", comparison.disagreements);
    read += comparison.bothRead;
    refused += comparison.bothRefused;
    stricter += comparison.stricter.length;
  }
  expect(stricter / count).toBeLessThanOrEqual(maxStricterShare);
  return { read, refused };
}

/** Four kinds of documents: some 14,000 in an ordinary run. */
const COUNT = PROVE ? 10_000 : 3_500;

describe("manifests mean what kubectl takes them for", () => {
  kubeTest(
    "every edge of scalars, plain, as keys, in flow, quoted and tagged",
    async () => {
      const fields = SCALARS.flatMap((scalar) => [
        ` ${scalar}\n`,
        `\n  ${scalar}: v\n`,
        `\n  - ${scalar}\n`,
        ` [${scalar}]\n`,
        ` {k: ${scalar}}\n`,
        ` {${scalar}: v}\n`,
        ` '${scalar.replaceAll("'", "''")}'\n`,
        ` "${scalar.replaceAll(/["\\]/g, "\\$&")}"\n`,
        ...TAGS.flatMap((tag) => [` ${tag} ${scalar}\n`, ` ${tag} '${scalar.replaceAll("'", "''")}'\n`]),
      ]);
      const comparison = await compareReadings(fields.map((field, index) => manifest(index, field)));
      expectAgreement(comparison);
      expect(comparison.bothRead).toBeGreaterThan(2_500);
      expect(comparison.bothRefused).toBeGreaterThan(500);
    },
    TIMEOUT_MS,
  );

  kubeTest(
    "every edge of structure, aliases, merges, tags and comments",
    async () => {
      const comparison = await compareReadings(STRUCTURES.map((field, index) => manifest(index, field)));
      expectAgreement(comparison);
      expect(comparison.bothRead).toBeGreaterThan(100);
      expect(comparison.bothRefused).toBeGreaterThan(40);
    },
    TIMEOUT_MS,
  );

  kubeTest(
    "scalars of any characters",
    async () => {
      const { read } = await compareGenerated(plainText, COUNT, 0.06, (index, text) => manifest(index, ` ${text}\n`));
      expect(read).toBeGreaterThan(COUNT / 4);
    },
    TIMEOUT_MS,
  );

  kubeTest(
    "documents of any structure and style",
    async () => {
      const { read } = await compareGenerated(wholeDocument, COUNT, 0.005, manifest);
      // A generator that only makes refused documents would prove nothing.
      expect(read).toBeGreaterThan(COUNT / 2);
    },
    TIMEOUT_MS,
  );

  kubeTest(
    "documents that were damaged at any place",
    async () => {
      const { read, refused } = await compareGenerated(brokenDocument, COUNT, 0.03, manifest);
      expect(read).toBeGreaterThan(COUNT / 20);
      expect(refused).toBeGreaterThan(COUNT / 20);
    },
    TIMEOUT_MS,
  );

  kubeTest(
    "JSON, whole and damaged",
    async () => {
      const { read } = await compareGenerated(jsonDocument, COUNT, 0.02, jsonManifest, "json");
      expect(read).toBeGreaterThan(COUNT / 4);
    },
    TIMEOUT_MS,
  );
});
