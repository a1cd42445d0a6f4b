import { expect, test } from "bun:test";
import { join } from "node:path";
import { freshNamespace, kubeTest } from "../support/kube.ts";
import { clientOf, walkAll } from "../k8s/walk.ts";
import { arrange, parseManifests, type ParsedObject, STAGES } from "../../src/manifests/mod.ts";

const page = await Bun.file(join(import.meta.dir, "..", "..", "docs", "order.md")).text();

function blocks(language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, "gm"))].map((match) => match[1] ?? "");
}

/** Which objects begin together, and what is awaited before. */
function order(manifest: string): string[] {
  const parsed = parseManifests([manifest]);
  const placed = (one: ParsedObject): ParsedObject["ref"] => ({ ...one.ref, namespace: one.ref.namespace ?? "default" });
  const { batches } = arrange(parsed, (one) => ({ ref: placed(one), object: one.object, plural: undefined }));
  const names = (some: readonly ParsedObject[]): string => some.map(({ ref }) => `${ref.kind} ${ref.name}`).join(", ");
  return batches.map(({ objects, awaits }) => `${names(objects)}${awaits.length === 0 ? "" : ` after ${names(awaits)}`}`);
}

test("the page's examples are ordered as the page says", () => {
  const [waves = "", dependencies = ""] = blocks("yaml");
  expect(order(waves)).toEqual(["Deployment db", "Job migrate after Deployment db", "Deployment shop after Job migrate"]);
  expect(order(dependencies)).toEqual(["Service cache", "Deployment cache", "ConfigMap endpoints after Deployment cache, Service cache"]);
});

test("the page's stages are those of the code, in their order", () => {
  const rows = [...page.matchAll(/^\| ([a-zA-Z ]+?) +\| /gm)].map((match) => match[1] ?? "");
  const told = rows.slice(rows.indexOf("stage") + 1, rows.indexOf("admission") + 1);
  expect(told.map((stage) => stage.toLowerCase().replace(" ", "_"))).toEqual([...STAGES]);
});

kubeTest(
  "the page's examples run",
  async () => {
    await using space = await freshNamespace();
    const client = await clientOf(space.kube);
    for (const manifest of blocks("yaml")) {
      const objects = parseManifests([manifest.replaceAll("/namespaces/default/", `/namespaces/${space.name}/`)]);
      const { told } = await walkAll(client, objects, { timeoutMs: 60_000 }, space.name);
      expect(new Set(told.map((text) => text.split(" ")[0]))).toEqual(new Set(["created"]));
    }
    expect(await space.get("job", "migrate")).toMatchObject({ status: { succeeded: 1 } });
    expect(await space.get("deployment", "shop")).toMatchObject({ status: { availableReplicas: 1 } });
  },
  120_000,
);
