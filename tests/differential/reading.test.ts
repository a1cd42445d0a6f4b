import { expect } from "bun:test";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { sample } from "fast-check";
import { parseManifests, stringifyObject } from "../../src/manifests/mod.ts";
import { wholeDocument } from "../manifests/generators.ts";
import { kubeTest, sharedKube } from "../support/kube.ts";
import { CORPUS, FILES } from "./ground.ts";

/** Numbers as texts, so that no reader's rounding hides another's. */
function exactly(json: string): unknown {
  return JSON.parse(json, (_key, value: unknown, context?: { readonly source?: string }) =>
    typeof value === "number" ? { number: context?.source } : value,
  );
}

/** The objects that kubectl prints, one indented document after the other. */
function printed(stdout: string): unknown[] {
  return stdout
    .split(/(?<=^\}\n)/m)
    .filter((text) => text.trim() !== "")
    .map(exactly);
}

/** What kubectl would send, as it says itself: it asks the server for the kinds, and nothing else. */
async function byKubectl(text: string): Promise<unknown[]> {
  const kube = await sharedKube();
  const args = ["create", "--dry-run=client", "--validate=false", "--output=json", "--namespace=corpus", "-f", "-"];
  return printed(await kube.kubectl(args, { input: text }));
}

function byUs(text: string): unknown[] {
  return parseManifests([text]).map(({ object }) => exactly(stringifyObject(object)));
}

for (const name of FILES.filter((file) => file !== "custom"))
  kubeTest(`kubectl create --dry-run=client reads the corpus's ${name} as we do`, async () => {
    const text = await readFile(join(CORPUS, `${name}.yaml`), "utf8");
    const [theirs, ours] = [await byKubectl(text), byUs(text)];
    expect(ours.length).toBeGreaterThan(1);
    expect(ours).toEqual(theirs);
  });

kubeTest(
  "kubectl create --dry-run=client reads generated documents as we do, many in one manifest",
  async () => {
    const texts = sample(wholeDocument, { numRuns: 600, seed: 20_260_211 }).map(
      (field, index) => `apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: case-${index}\n  namespace: corpus\nx:${field}`,
    );
    // One that we refuse on purpose would hide all that stand beside it.
    const readable = texts.filter((text) => {
      try {
        byUs(text);
        return true;
      } catch {
        return false;
      }
    });
    expect(readable.length).toBeGreaterThan(300);
    const manifest = readable.map((text) => text.trimEnd()).join("\n---\n");
    expect(byUs(manifest)).toEqual(await byKubectl(manifest));
  },
  120_000,
);
