import { describe, expect, test } from "bun:test";
import { envName } from "../../src/config/mod.ts";
import { leaves } from "../../src/cli/tree.ts";
import { runCli } from "../support/cli.ts";
import { runTransporter } from "../support/process.ts";

describe("help", () => {
  for (const { path, leaf } of leaves()) {
    test(`of ${path.join(" ")} says every flag, its default and its variable`, async () => {
      const command = await leaf.load();
      const { code, out, err } = await runCli([...path, "--help"]);
      expect({ code, err }).toEqual({ code: 0, err: "" });
      // Wrapped lines are one text again.
      const flat = out.replace(/\s+/g, " ");
      for (const [name, setting] of Object.entries(command.settings)) {
        expect(flat).toContain(`--${name}`);
        if (setting.short !== undefined) expect(flat).toContain(`-${setting.short}, --${name}`);
        if (setting.flagOnly !== true) expect(flat).toContain(envName(name, setting));
        if (setting.defaultText !== undefined && setting.kind !== "switch") expect(flat).toContain(`default ${setting.defaultText}`);
      }
      expect(flat).toContain("-h, --help");
      expect(out).toContain("Examples");
      expect(command.examples.length).toBeGreaterThan(0);
      for (const line of out.split("\n"))
        if (!line.startsWith("  transporter") && !line.includes("|")) expect(line.length).toBeLessThanOrEqual(100);
    });
  }

  test("no two flags of a command share a letter or a name", async () => {
    for (const { leaf } of leaves()) {
      const { settings } = await leaf.load();
      const names = Object.entries(settings).flatMap(([name, setting]) => [name, ...(setting.aliases ?? [])]);
      const letters = Object.values(settings).flatMap((setting) => setting.short ?? []);
      expect(new Set(names).size).toBe(names.length);
      expect(new Set([...letters, "h"]).size).toBe(letters.length + 1);
    }
  });

  test("examples are command lines that the program takes", async () => {
    const { parseArgs } = await import("../../src/cli/argv.ts");
    const { locate } = await import("../../src/cli/locate.ts");
    const { ROOT } = await import("../../src/cli/tree.ts");
    for (const { path, leaf } of leaves()) {
      const command = await leaf.load();
      for (const example of command.examples) {
        const call = /transporter ([^|>()]*)/.exec(example.replace(/\$\(.*\)$/, "x"))?.[1] ?? "";
        const located = await locate(call.trim().split(/\s+/), ROOT);
        expect(located.kind).toBe("leaf");
        if (located.kind !== "leaf") continue;
        expect(located.path).toEqual(path);
        expect(() => parseArgs(located.args, command, call)).not.toThrow();
      }
    }
  });

  test("comes without a command, by `help`, and for groups", async () => {
    const bare = await runCli([]);
    expect(bare.code).toBe(0);
    for (const { path } of leaves()) expect(bare.out).toContain(path[0] ?? "");
    expect((await runCli(["--help"])).out).toBe(bare.out);
    expect((await runCli(["help"])).out).toBe(bare.out);
    expect((await runCli(["help", "send", "k8s"])).out).toBe((await runCli(["send", "k8s", "-h"])).out);
    const group = await runCli(["send"]);
    expect(group).toMatchObject({ code: 2, out: "" });
    expect(group.err).toContain("from-file");
    expect((await runCli(["send", "--help"])).code).toBe(0);
  });
});

describe("commands below a command that runs by itself", () => {
  test("are found, listed by its help, and lead away from it only by their name", async () => {
    const { locate } = await import("../../src/cli/locate.ts");
    const { ROOT } = await import("../../src/cli/tree.ts");
    const path = async (...words: string[]): Promise<string> => (await locate(words, ROOT)).path.join(" ");
    expect(await path("cp")).toBe("cp");
    expect(await path("cp", "--ws-port", "0")).toBe("cp");
    expect(await path("control-plane", "init")).toBe("cp init");
    expect(await path("cp", "ca", "rotate", "--help")).toBe("cp ca rotate");
    expect(await path("help", "agent", "rbac")).toBe("agent rbac");
    const help = await runCli(["cp", "--help"]);
    expect(help.out).toContain("transporter cp COMMAND [flags]");
    expect(help.out).toMatch(/^ {2}init {2}\S/m);
    expect((await runCli(["agent", "--help"])).out).toMatch(/^ {2}rbac {2}\S/m);
    expect((await runCli(["cp", "ca"])).code).toBe(2);
  });
  test("a word that names none is refused, with the likely one", async () => {
    const { code, err } = await runCli(["cp", "inti"]);
    expect(code).toBe(2);
    expect(err).toContain('unknown command "inti" for "transporter cp". Did you mean init?');
  });
});

describe("an unknown command", () => {
  test("is refused with the likely one, and nothing of any command is loaded", async () => {
    const { exitCode, stdout, stderr } = await runTransporter(["sned"]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toBe(
      'error: unknown command "sned" for "transporter". Did you mean send?\ncode:  USAGE\nhint:  `transporter --help` lists the commands.\n',
    );
  });
  test("below a group too, and words that every object knows are no commands", async () => {
    expect((await runCli(["get", "evnets"])).err).toContain("Did you mean events?");
    for (const word of ["constructor", "__proto__", "toString", ""]) expect((await runCli([word])).code).toBe(2);
  });
});

test("the version is quick and plain", async () => {
  const { exitCode, stdout, stderr } = await runTransporter(["--version"]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  expect(stdout).toMatch(/^transporter \d+\.\d+\.\d+/);
  const json: unknown = JSON.parse((await runCli(["version", "-o", "json"])).out);
  expect(json).toMatchObject({ client: { protocol: 2, version: expect.stringMatching(/^\d+\.\d+\.\d+$/) } });
});
