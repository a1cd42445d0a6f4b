import { describe, expect, test } from "bun:test";
import {
  CP_SETTINGS,
  type Settings,
  envName,
  knownFileKeys,
  knownVariables,
  parseConfigFile,
  resolveSettings,
  settingKey,
} from "../../src/config/mod.ts";
import { leaves } from "../../src/cli/tree.ts";
import { configurationTables } from "../support/configuration-reference.ts";
import { generatedParts, partsMarked, words } from "../support/generated.ts";
import { codeBlocks, readText } from "./markdown.ts";

const PAGE = "docs/configuration.md";

describe("docs/configuration.md", () => {
  test("has every table as the program has it (UPDATE_DOCS=1 writes them)", async () => {
    const tables = configurationTables();
    for (const { name, stands, wanted } of await generatedParts(PAGE, tables)) expect(stands, name).toBe(wanted);
    expect(partsMarked(await readText(PAGE)).toSorted()).toEqual(Object.keys(tables).toSorted());
  });

  test("leaves out no variable, no key of the file, and no setting of any command that either may set", async () => {
    const page = await readText(PAGE);
    const isTold = (word: string): boolean => page.includes(`\`${word}\``);
    expect([...knownVariables()].filter((name) => !isTold(name))).toEqual([]);
    expect([...knownFileKeys()].filter((key) => !isTold(key))).toEqual([]);
    const untold: string[] = [];
    for (const { path, leaf } of leaves()) {
      const settings: Settings = (await leaf.load()).settings;
      for (const [name, setting] of Object.entries(settings)) {
        if (setting.flagOnly === true) continue;
        if (!isTold(`--${name}`) || !isTold(envName(name, setting)) || !(name === "config" || isTold(settingKey(name, setting))))
          untold.push(`${path.join(" ")} --${name}`);
      }
    }
    expect(untold).toEqual([]);
  });

  test("shows a file that the control plane reads", async () => {
    const [block] = codeBlocks(await readText(PAGE)).filter(({ language }) => language === "yaml");
    const file = await parseConfigFile(block?.text ?? "", "the page's file", knownFileKeys());
    const { values, warnings } = resolveSettings(CP_SETTINGS, { flags: new Map(), env: {}, file });
    expect(warnings).toEqual([]);
    expect(values["advertise-agents"]).toEqual(["wss://cp.example.com:8443/ws"]);
    expect(values["retention"]).toBe(720 * 3_600_000);
    expect(values["trust-cluster"].map(({ name, agents, subjects }) => ({ name, agents, subjects }))).toEqual([
      { name: "shop", agents: "shop-*", subjects: ["system:serviceaccount:transporter-system:transporter-agent"] },
    ]);
  });
});

describe("the reader of what is made", () => {
  test("sees words, not alignment", () => {
    expect(words("| a   | b |\n| --- | - |\n")).toBe(words("| a | b |\n| - | - |"));
    expect(words("| a | b |")).not.toBe(words("| a | c |"));
  });
});
