/**
 * What is made to hurt, on its way to an agent: the shipped agent under a control plane that hands it whatever it likes. Each ends in a refusal,
 * within bounds of memory, and the agent goes on: its heartbeats come all the while.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LIMITS } from "../../src/protocol/mod.ts";
import { apartFrame } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";
import { compiledTest, EXECUTABLE_PATH, type RunningProcess, startTransporter } from "../support/process.ts";
import { count, PROVE } from "../support/prove.ts";
import { type ScriptedCp, scriptedCp } from "../support/scripted-cp.ts";
import { grownMib } from "./hostile/range.ts";

const MIB = 1024 * 1024;
/** The machine of the tests may be busy with other tests. */
const WITHIN_MS = PROVE ? 500 : 3_000;
const lines: string[] = [];

let cp: ScriptedCp;
let agent: RunningProcess;
let directory: string;

beforeAll(async () => {
  if (!existsSync(EXECUTABLE_PATH)) return;
  directory = await mkdtemp(join(tmpdir(), "transporter-bombs-"));
  const kubeconfig = join(directory, "kubeconfig");
  // Nobody is there: what is refused is refused before anybody is asked.
  await writeFile(
    kubeconfig,
    JSON.stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [{ name: "c", cluster: { server: "http://127.0.0.1:9" } }],
      users: [{ name: "u", user: { token: "x" } }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    }),
  );
  cp = await scriptedCp({ protocol: 2 });
  agent = await startTransporter(
    ["agent", "--agent-id", "target", "--cp-url", cp.url, "--kubeconfig", kubeconfig, "--heartbeat-interval", "1s", "--log-format", "json"],
    { compiled: true },
  );
  await cp.connection();
  // What the workers load at their first use is no growth by a bomb.
  for (const bytes of [100, 400_000, 4 * MIB]) await deliver("warm", { manifests: [`kind: ${"x".repeat(bytes)}`] });
});
afterAll(async () => {
  if (lines.length > 0) console.log(lines.join("\n"));
  await agent?.[Symbol.asyncDispose]();
  await cp?.[Symbol.asyncDispose]();
  if (directory !== undefined) await rm(directory, { recursive: true, force: true });
});

interface Ended {
  readonly state: unknown;
  readonly code: string;
  readonly tookMs: number;
  readonly grownMib: number;
}

/** Hands an event over and waits for its end. */
async function deliver(name: string, payload: Record<string, unknown>, more: Record<string, unknown> = {}): Promise<Ended> {
  const id = crypto.randomUUID();
  const connection = await cp.connection();
  const event = {
    id,
    type: "k8s_resource",
    target_agent: "target",
    payload,
    created_at: new Date().toISOString(),
    ttl: 3_600_000_000_000,
    ...more,
  };
  const text = JSON.stringify({ type: "event", event, revision: 1 });
  let end: Record<string, unknown> = {};
  let tookMs = 0;
  const grown = await grownMib(agent.pid, async () => {
    const startedMs = performance.now();
    connection.send(text);
    end = await cp.ended(id, 60_000);
    tookMs = performance.now() - startedMs;
  });
  const code = JSON.stringify(end).match(/"code":"([A-Z_]+)"/)?.[1] ?? "";
  if (name !== "warm")
    lines.push(
      `  ${name.padEnd(44)} ${(text.length / MIB).toFixed(1).padStart(5)} MiB  ${String(end["state"])} ${code.padEnd(18)} after ${tookMs.toFixed(0).padStart(5)} ms  +${grown.toFixed(0).padStart(3)} MiB`,
    );
  return { state: end["state"], code, tookMs, grownMib: grown };
}

/** What may be a large manifest until it has been read: seconds of a worker, bounded by the number of its tokens, and nobody's loop. */
const READ_FIRST = { mostMib: 250, withinMs: 30_000 };

function expectRefused(ended: Ended, { mostMib, withinMs } = { mostMib: 50, withinMs: WITHIN_MS }): void {
  expect(ended.state).toBe("failed");
  expect(ended.code).toMatch(/^INVALID_|^UNSUPPORTED|^PAYLOAD/);
  expect(ended.tookMs).toBeLessThan(withinMs);
  expect(ended.grownMib).toBeLessThan(mostMib);
}

/** Each level holds the one before nine times: at ten levels three thousand million nodes. */
function laughs(levels: number): string {
  const rows = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"];
  for (let at = 1; at < levels; at += 1) rows.push(`a${at}: &a${at} [${Array.from({ length: 9 }, () => `*a${at - 1}`).join(", ")}]`);
  return `${rows.join("\n")}\n`;
}

const OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";

describe("a manifest", () => {
  compiledTest("of aliases within aliases", async () => {
    for (const levels of [6, 10, 30, 200])
      expectRefused(await deliver(`aliases, ${levels} levels`, { manifests: [laughs(levels) + OBJECT] }));
    expectRefused(await deliver("an alias to itself", { manifests: [`${OBJECT}data: &a [*a, *a]\n`] }));
    const long = `x: &a "${"y".repeat(1_000)}"\nl: [${"*a, ".repeat(count(40_000, 150_000))}*a]\n`;
    expectRefused(await deliver("very many aliases of one text", { manifests: [long + OBJECT] }), READ_FIRST);
    const merges = `${Array.from({ length: 200 }, (_, at) => `m${at}: &m${at} {${at === 0 ? "a: b" : `<<: [*m${at - 1}, *m${at - 1}]`}}`).join("\n")}\n`;
    expectRefused(await deliver("merges within merges", { manifests: [merges + OBJECT] }));
  });

  compiledTest("that nests without end, as YAML and as JSON", async () => {
    expectRefused(await deliver("YAML lists, 100,000 deep", { manifests: ["[".repeat(100_000)] }));
    expectRefused(await deliver("YAML lists in lines", { manifests: ["- ".repeat(100_000)] }));
    expectRefused(
      await deliver("YAML maps, 2,000 deep", { manifests: [Array.from({ length: 2_000 }, (_, at) => `${" ".repeat(at)}a:`).join("\n")] }),
    );
    expectRefused(await deliver("YAML keys of keys", { manifests: ["? ".repeat(20_000)] }));
    expectRefused(await deliver("JSON, 200,000 deep", { manifests: [`{"a":${"[".repeat(200_000)}`] }));
    expectRefused(await deliver("JSON objects, 100,000 deep", { manifests: ['{"a":'.repeat(100_000)] }));
  });

  compiledTest("of very many small things", async () => {
    expectRefused(await deliver("YAML of very many lists", { manifests: [`a: [${"[],".repeat(count(25_000, 100_000))}]\n`] }), READ_FIRST);
    expectRefused(await deliver("JSON of 500,000 lists", { manifests: [`{"a":[${"[],".repeat(500_000)}[]]}`] }), READ_FIRST);
  });

  compiledTest("of numbers, names and texts that take time", async () => {
    expectRefused(
      await deliver("a number of 300,000 digits", {
        manifests: [`${OBJECT}data: {a: ${"9".repeat(300_000)}}\nx: !!int ${"9".repeat(300_000)}\n`],
      }),
    );
    expectRefused(await deliver("300,000 blanks", { manifests: [`{"a":${" ".repeat(300_000)}x`] }));
    expectRefused(await deliver("300,000 separators", { manifests: ["---\n".repeat(300_000) + "x"] }), READ_FIRST);
    expectRefused(await deliver("very many anchors", { manifests: ["&a ".repeat(count(25_000, 100_000))] }), READ_FIRST);
    expectRefused(
      await deliver("kind of 300,000 letters", { manifests: [`apiVersion: v1\nkind: ${"a-".repeat(150_000)}!\nmetadata: {name: x}\n`] }),
    );
    expectRefused(
      await deliver("apiVersion of 300,000 letters", {
        manifests: [`apiVersion: ${"a-".repeat(150_000)}!\nkind: X\nmetadata: {name: x}\n`],
      }),
    );
    expectRefused(await deliver("base64 of 300,000 letters", { manifests: [`${OBJECT}x: !!binary ${"A".repeat(300_001)}\n`] }));
    expectRefused(await deliver("a block of tabs", { manifests: [`${OBJECT}x: |\n${" \n".repeat(100_000)}\tx\n`] }));
  });

  compiledTest("whose keys would reach a prototype", async () => {
    for (const key of ["__proto__", "constructor", "prototype"])
      for (const text of [`${key}: {polluted: true}\n`, `{"${key}":{"kind":"Secret"}}`, `metadata: {name: x, ${key}: {y: z}}\nkind: X\n`])
        expectRefused(await deliver(key, { manifests: [text] }));
  });
});

describe("what a control plane sends", () => {
  compiledTest("a payload that becomes more than it says", async () => {
    const bomb = Buffer.from(Bun.zstdCompressSync(Buffer.alloc(200 * MIB)));
    const digest = "0".repeat(64);
    const id = crypto.randomUUID();
    const connection = await cp.connection();
    cp.serving = false;
    let end: Record<string, unknown> = {};
    const grown = await grownMib(agent.pid, async () => {
      connection.send(
        apartFrame(id, { digest, bytes: 1_000, encoding: "zstd", encoded_bytes: bomb.length }, { event: { target_agent: "target" } }),
      );
      let answered = 0;
      end = await eventually(
        () => {
          for (const { digest: asked, offset } of cp.frames("payload_get").slice(answered)) {
            answered += 1;
            const piece = bomb.subarray(Number(offset), Number(offset) + LIMITS.payloadPieceBytes).toString("base64");
            connection.send({ type: "payload_piece", digest: asked, offset, data: piece });
          }
          return cp.statuses(id).find(({ state }) => state === "failed");
        },
        { timeoutMs: 30_000, what: "the end of the payload" },
      );
      expect(answered).toBeGreaterThan(0);
    });
    cp.serving = true;
    lines.push(
      `  ${`zstd, 200 MiB of ${bomb.length} bytes`.padEnd(44)}            ${JSON.stringify(end).match(/"code":"(\w+)"/)?.[1] ?? ""}  +${grown.toFixed(0).padStart(3)} MiB`,
    );
    expect(end["state"]).toBe("failed");
    expect(grown).toBeLessThan(50);
  });

  compiledTest("frames of lists and lists of frames", async () => {
    const connection = await cp.connection();
    for (const [name, text] of [
      ["deep", `{"type":"event","event":${"[".repeat(2 * MIB)}`],
      ["wide", `{"type":"event","event":[${"[],".repeat(2 * MIB)}[]]}`],
      ["number", `{"type":"event","nth":${"9".repeat(4 * MIB)}}`],
    ] as const) {
      const beats = cp.frames("heartbeat").length;
      const grown = await grownMib(agent.pid, async () => {
        connection.send(text);
        await eventually(() => cp.frames("heartbeat").length > beats, { timeoutMs: 10_000 });
      });
      lines.push(`  ${`frame: ${name}`.padEnd(44)} +${grown.toFixed(0).padStart(3)} MiB`);
      expect(grown).toBeLessThan(80);
    }
  });
});

compiledTest("after all that it lives, on the connection that it had", async () => {
  expect(cp.connections).toHaveLength(1);
  expectRefused(await deliver("nothing much", { manifests: ["kind: X\n"] }));
  expect(agent.stderr() + agent.stdout()).not.toMatch(/unexpected fault|UNHANDLED/i);
});
