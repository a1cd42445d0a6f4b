import { afterAll, describe, expect } from "bun:test";
import { readFile } from "node:fs/promises";
import { kubeTest } from "../support/kube.ts";
import { byAgent, byKubectl, CHANGED, corpusTexts, Ground, MANAGER, NAMESPACES } from "./ground.ts";
import { type Content, contentOf, servedKinds } from "./normal-form.ts";
import { SKIPPED_KINDS } from "./skipped.ts";

let started: Promise<Ground> | undefined;
const ground = (): Promise<Ground> => (started ??= Ground.start());
afterAll(async () => {
  await (await started?.catch(() => undefined))?.[Symbol.asyncDispose]();
});

/** Objects that people made with client-side apply, and those that a controller or another tool wrote to. */
function byHand(version: 1 | 2): string {
  const later = version === 2;
  return [
    `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: corpus-by-hand, labels: {a: "1"${later ? "" : ', gone: "1"'}}}\ndata: {kept: "${version}"${later ? ', added: "1"' : ', removed: "1"'}}\n`,
    `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: corpus-by-hand}\nspec:\n  replicas: ${version}\n  selector: {matchLabels: {app: web}}\n` +
      `  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n        - {name: web, image: "example.com/web:${version}"${later ? "" : ", env: [{name: OLD, value: x}]"}}\n`,
    `apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: corpus-by-hand}\nspec: {clusterIP: 10.96.78.1, selector: {app: web}, ports: [{name: a, port: 80}${later ? "" : ", {name: b, port: 81}"}]}\n`,
  ].join("---\n");
}

/** Of both the same objects with the same lines; neither may change anything. Text for text but for names of files and the clock. */
async function compareDiffs({ agent, stack }: Ground, text: string): Promise<void> {
  const kubectl = await agent.tryKubectl(["diff", "--server-side", MANAGER, "-f", "-"], { input: text });
  expect(kubectl.exitCode).toBe(1);
  const theirs = kubectl.stdout
    .split(/^diff -u .*$/m)
    .slice(1)
    .map((part) => part.replace(/^\n--- .*\/([^/\t]+)\t.*\n\+\+\+ .*\n/, "$1\n"));
  const { result, state } = await stack.carryOut([text], {}, { operation: "diff" });
  expect(state).toBe("completed");
  const ours = (result?.resource_status ?? []).flatMap(({ diff }) =>
    typeof diff === "string" && diff !== "" ? [diff.replace(/^--- LIVE\/(\S+)\n\+\+\+ .*\n/, "$1\n")] : [],
  );
  expect(ours.toSorted()).toEqual(theirs.toSorted());
  expect(ours.length).toBeGreaterThan(8);
}

const NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: corpus-by-hand}\n";

describe("the agent applies as kubectl apply --server-side does", () => {
  kubeTest("a corpus that has every kind that the API server serves", async () => {
    const { kubectl } = await ground();
    const inCorpus = new Set(
      (await corpusTexts()).flatMap((text) =>
        [...text.matchAll(/^\s*(?:- )?"?apiVersion"?: "?([\w./-]+)"?,?\s*\n?\s*"?kind"?: "?(\w+)/gm)].map(
          (match) => `${match[1]} ${match[2]}`,
        ),
      ),
    );
    const served = (await servedKinds(kubectl)).map(({ apiVersion, kind }) => `${apiVersion} ${kind}`);
    const missing = served.filter((kind) => !inCorpus.has(kind) && SKIPPED_KINDS[kind] === undefined);
    expect(missing).toEqual([]);
    // A reason for what is not there, or is covered by now, is no reason.
    expect(Object.keys(SKIPPED_KINDS).filter((kind) => !served.includes(kind) || inCorpus.has(kind))).toEqual([]);
  });

  kubeTest(
    "the whole corpus, again without writing anything, and changed",
    async () => {
      const here = await ground();
      const texts = await corpusTexts();

      await byKubectl(here.kubectl);
      const first = await byAgent(here.stack, texts);
      expect(first.filter((told) => !told.startsWith("created "))).toEqual([]);
      const count = await here.expectAlike();
      expect(count).toBeGreaterThan(80);

      const before = await contentOf(here.agent, NAMESPACES);
      // kubectl writes some of them anew each time: the server counts a generation for them although nothing is different.
      const again = await byAgent(here.stack, texts);
      expect(again.filter((told) => !told.startsWith("unchanged "))).toEqual([]);
      const after = await contentOf(here.agent, NAMESPACES);
      const versions = (content: Content): string[] =>
        [...content].map(([key, object]) => `${key} ${String((object["metadata"] as Record<string, unknown>)["resourceVersion"])}`);
      expect(versions(after).toSorted()).toEqual(versions(before).toSorted());

      await compareDiffs(here, await readFile(CHANGED, "utf8"));
      await here.kubectl.kubectl(["apply", "--server-side", MANAGER, "-f", CHANGED]);
      const changed = await byAgent(here.stack, [await readFile(CHANGED, "utf8")]);
      expect(changed.filter((told) => !told.startsWith("updated "))).toEqual([]);
      await here.expectAlike();
    },
    600_000,
  );

  kubeTest(
    "what was made by client-side apply, and then by hand: the same fields, managers and annotations",
    async () => {
      const here = await ground();
      const both = async (args: readonly string[], input?: string): Promise<void> => {
        for (const kube of [here.kubectl, here.agent]) await kube.kubectl(args, input === undefined ? {} : { input });
      };
      await both(["apply", "-f", "-"], NAMESPACE);
      await both(["apply", "-f", "-"], byHand(1));
      await both(["-n", "corpus-by-hand", "annotate", "configmap", "settings", "by=hand"]);
      await both(
        ["-n", "corpus-by-hand", "patch", "deployment", "web", "--field-manager=other", "--type=json"].concat([
          '-p=[{"op":"add","path":"/spec/template/metadata/annotations","value":{"by":"other"}}]',
        ]),
      );
      // Under a name of its own kubectl takes over from its other self only when forced to, and makes up the books afterwards.
      await here.kubectl.kubectl(["apply", "--server-side", "--force-conflicts", MANAGER, "-f", "-"], { input: byHand(2) });
      const told = await byAgent(here.stack, [byHand(2)]);
      expect(told.map((one) => one.split(" ")[0])).toEqual(["updated", "updated", "updated"]);
      expect(await here.expectAlike()).toBeGreaterThan(3);
    },
    300_000,
  );

  kubeTest(
    "a conflict with another manager: refused by both, and by both taken over when told to",
    async () => {
      const here = await ground();
      const map = (value: string): string =>
        `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: contested, namespace: default}\ndata: {key: "${value}"}\n`;
      for (const kube of [here.kubectl, here.agent])
        await kube.kubectl(["apply", "--server-side", "--field-manager=rival", "-f", "-"], { input: map("theirs") });
      const refused = await here.kubectl.tryKubectl(["apply", "--server-side", MANAGER, "-f", "-"], { input: map("ours") });
      expect(refused.exitCode).not.toBe(0);
      const { result } = await here.stack.carryOut([map("ours")]);
      expect(result).toMatchObject({ success: false, error_code: "FIELD_CONFLICT" });
      expect(result?.error_message).toContain('.data.key belongs to field manager "rival"');
      await here.expectAlike();
      await here.kubectl.kubectl(["apply", "--server-side", "--force-conflicts", MANAGER, "-f", "-"], { input: map("ours") });
      expect(await byAgent(here.stack, [map("ours")], { force_conflicts: true })).toEqual(["updated ConfigMap contested"]);
      await here.expectAlike();
    },
    300_000,
  );
});
