import { expect, test } from "bun:test";
import { mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unifiedHunks } from "../../src/manifests/unified.ts";
import { patched } from "../support/patched.ts";

const DIFF = Bun.which("diff");
const ROUNDS = 150;

/** The same numbers every time. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
    return state / 0x7fffffff;
  };
}

/** Lines as objects have them: some of a kind, many alike. */
function documentOf(random: () => number, kinds: number): string[] {
  return Array.from(
    { length: Math.floor(random() * 80) },
    () => `${"  ".repeat(Math.floor(random() * 3))}field-${Math.floor(random() * kinds)}: x`,
  );
}

function edited(lines: readonly string[], random: () => number): string[] {
  return lines.flatMap((line, at) => {
    const dice = random();
    if (dice < 0.05) return [];
    if (dice < 0.1) return [line, `added-${at}: y`];
    if (dice < 0.13) return [line, line];
    return dice < 0.18 ? [`${line}-changed`] : [line];
  });
}

const text = (lines: readonly string[]): string => lines.map((line) => `${line}\n`).join("");

const changed = (hunks: string): number => hunks.split("\n").filter((line) => /^[+-]/.test(line)).length;

test.skipIf(DIFF === null)(
  "hunks make the new text of the old one, and are those of diff -u",
  async () => {
    const directory = await mkdtemp(join(await realpath(tmpdir()), "transporter-test-"));
    try {
      const random = numbers(20_261_122);
      let others = 0;
      for (let round = 0; round < ROUNDS; round += 1) {
        const lines = documentOf(random, [6, 20, 200][round % 3] ?? 20);
        const [old, fresh] = [text(lines), text(edited(lines, random))];
        const ours = unifiedHunks(old, fresh);
        expect(patched(old, ours)).toBe(fresh);
        await Promise.all([writeFile(join(directory, "a"), old), writeFile(join(directory, "b"), fresh)]);
        const child = Bun.spawn([DIFF ?? "diff", "-u", "a", "b"], { cwd: directory, stdin: "ignore", stdout: "pipe" });
        const theirs = (await child.stdout.text()).split("\n").slice(2).join("\n");
        if (ours === theirs) continue;
        // Of several ways to tell it in as few lines, it may take another where lines are much alike.
        expect(changed(ours)).toBe(changed(theirs));
        others += 1;
      }
      expect(others).toBeLessThanOrEqual(ROUNDS / 20);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  },
  120_000,
);
