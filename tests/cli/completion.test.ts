import { describe, expect, test } from "bun:test";
import { leaves } from "../../src/cli/tree.ts";
import { startCp } from "../support/cp.ts";
import { runCli, temporaryDirectory } from "../support/cli.ts";
import { dialAgent } from "../support/wire-agent.ts";

async function run(command: readonly string[], env: Record<string, string>): Promise<string> {
  const child = Bun.spawn([...command], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  if (code !== 0 || err !== "") throw new Error(`${command[0]} ended with ${code}: ${err}`);
  return out;
}

const script = (shell: string): Promise<string> => runCli(["completion", shell]).then(({ out }) => out);

/** What a real bash offers after these words; the last one is what is being typed. */
async function offers(words: readonly string[], env: Record<string, string> = {}): Promise<string[]> {
  await using files = await temporaryDirectory();
  const path = await files.file("completion.bash", await script("bash"));
  // As readline cuts words: an equal sign is one of its own, and a colon.
  const cut = words.flatMap((word) =>
    (word.startsWith("--") && word.includes("=")) || word.includes(":") ? word.split(/([=:])/).filter((part) => part !== "") : [word],
  );
  const quoted = cut.map((word) => `'${word}'`).join(" ");
  const program = `set -u; source '${path}'; COMP_WORDS=(transporter ${quoted}); COMP_CWORD=${cut.length}; COMPREPLY=(); _transporter; for each in "\${COMPREPLY[@]+"\${COMPREPLY[@]}"}"; do printf '%s\\n' "$each"; done`;
  const text = await run(["bash", "--norc", "-c", program], { HOME: files.path, ...env });
  return text.split("\n").filter((line) => line !== "");
}

describe("in a real bash", () => {
  test("commands, groups and aliases", async () => {
    expect(await offers([""])).toEqual(expect.arrayContaining(["cp", "control-plane", "agent", "send", "get", "doctor"]));
    expect(await offers(["se"])).toEqual(["send"]);
    expect(await offers(["send", ""])).toEqual(["k8s", "from-file"]);
    expect(await offers(["get", "ev"])).toEqual(["events", "event", "ev"]);
    expect(await offers(["cp", ""])).toEqual(["init", "ca"]);
    expect(await offers(["cp", "ca", "r"])).toEqual(["rotate", "retire"]);
    expect(await offers(["can-i", "tok"])).toEqual(["tokens:manage"]);
    expect(await offers(["can-i", "events:c"])).toEqual(["create", "cancel"]);
    expect(await offers(["can-i", "--agent", "a", "tokens:"])).toEqual(["manage"]);
    expect(await offers(["completion", ""])).toEqual(["bash", "zsh", "fish"]);
    expect(await offers(["nonsense", ""])).not.toContain("k8s");
  });

  test("every flag of every command, and no other's", async () => {
    for (const { path, leaf } of leaves()) {
      const { settings } = await leaf.load();
      expect((await offers([...path, "--"])).toSorted()).toEqual(
        [...Object.keys(settings).map((name) => `--${name}`), "--help"].toSorted(),
      );
    }
  }, 60_000);

  test("values: choices, also after an equal sign and a value flag in between", async () => {
    expect(await offers(["get", "events", "-o", ""])).toEqual(["table", "wide", "json", "yaml", "name"]);
    expect(await offers(["get", "events", "--output", "j"])).toEqual(["json"]);
    expect(await offers(["get", "events", "--output=", ""].slice(0, 3))).toEqual(["table", "wide", "json", "yaml", "name"]);
    expect(await offers(["get", "ev", "--agent", "send", "--no-h"])).toEqual(["--no-headers"]);
    expect(await offers(["control-plane", "--log-format", ""])).toEqual(["text", "json"]);
    expect(await offers(["send", "k8s", "--id", ""])).toEqual([]);
  });

  test("files and directories", async () => {
    await using files = await temporaryDirectory();
    await files.file("some file.yaml", "");
    await files.file("dir/x.yaml", "");
    expect(await offers(["send", "k8s", "-f", `${files.path}/some`])).toEqual([`${files.path}/some file.yaml`]);
    expect(await offers(["send", "k8s", "-k", `${files.path}/`])).toEqual([`${files.path}/dir`]);
  });

  test("names of agents are asked for, and never run", async () => {
    await using cp = await startCp();
    await using files = await temporaryDirectory();
    const mark = `${files.path}/owned`;
    await using plain = await dialAgent(cp.wsUrl, { id: "agent-1" });
    await using hostile = await dialAgent(cp.wsUrl, { id: `agent-$(touch ${mark})\`touch ${mark}\`` });
    expect([plain, hostile]).toHaveLength(2);
    const bin = await files.file(
      "bin/transporter",
      `#!/bin/sh\nexec ${process.execPath} ${import.meta.dir}/../../bin/transporter.ts "$@"\n`,
    );
    await run(["chmod", "+x", bin], {});
    const env = { PATH: `${files.path}/bin:${process.env["PATH"] ?? ""}`, TRANSPORTER_CP_URL: cp.url };
    const found = await offers(["send", "k8s", "--agent", "agent"], env);
    expect(found).toContain("agent-1");
    expect(found).toHaveLength(2);
    expect(found.find((name) => name.includes("touch"))).toStartWith("agent-\\$\\(touch\\ ");
    expect(await Bun.file(mark).exists()).toBe(false);
  });
});

const zsh = Bun.which("zsh");
const fish = Bun.which("fish");

test.skipIf(zsh === null)("a real zsh takes its script", async () => {
  await using files = await temporaryDirectory();
  const path = await files.file("completion.zsh", await script("zsh"));
  // compadd is what would reach the screen: here it says what it was given.
  const program = `autoload -Uz compinit; compinit -u -d ${files.path}/dump; source ${path}
_describe() { local -a list; list=("\${(@P)4}"); print -rl -- "\${(@)list%%:*}" }
compadd() { shift; print -rl -- "$@" }
words=(transporter get events -o ''); CURRENT=5; _transporter; print '@@'; words=(transporter send ''); CURRENT=3; _transporter; print '@@'; words=(transporter cp --wa); CURRENT=3; _transporter`;
  const text = await run(["zsh", "-f", "-c", program], { HOME: files.path });
  const [values, commands, flags] = text.split("@@\n");
  expect(values).toBe("table\nwide\njson\nyaml\nname\n");
  expect(commands).toBe("k8s\nfrom-file\n");
  expect(flags).toStartWith("--ws-addr\n--ws-port\n");
});

test.skipIf(fish === null)("a real fish takes its script", async () => {
  await using files = await temporaryDirectory();
  const path = await files.file("completion.fish", await script("fish"));
  const ask = async (line: string): Promise<string[]> =>
    (await run(["fish", "--no-config", "-c", `source ${path}; complete -C ${JSON.stringify(line)}`], { HOME: files.path }))
      .split("\n")
      .map((each) => each.split("\t")[0] ?? "")
      .filter((each) => each !== "");
  expect(await ask("transporter send ")).toEqual(["from-file", "k8s"]);
  expect(await ask("transporter get ev -o ")).toEqual(expect.arrayContaining(["table", "wide", "json", "yaml", "name"]));
  expect(await ask("transporter control-plane --ws-")).toEqual(["--ws-addr", "--ws-port"]);
});
