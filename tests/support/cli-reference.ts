import { join, resolve } from "node:path";
import { type Setting, envName } from "../../src/config/mod.ts";
import { leaves } from "../../src/cli/tree.ts";

/** Where the reference stands. */
export const CLI_PAGE: string = join(resolve(import.meta.dir, "../.."), "docs/cli.md");
const BEGIN = "<!-- commands: written by tests/support/cli-reference.ts -->";

function flagLine(name: string, setting: Setting<unknown>): string {
  const names = [
    `--${name}`,
    ...(setting.aliases ?? []).map((alias) => `--${alias}`),
    ...(setting.short === undefined ? [] : [`-${setting.short}`]),
  ];
  const hint = setting.kind === "switch" ? "" : ` ${setting.hint ?? "VALUE"}`;
  const fallback = setting.defaultText === undefined || setting.defaultText === "false" ? "" : ` Default: \`${setting.defaultText}\`.`;
  const from = setting.flagOnly === true ? "" : ` Also \`${envName(name, setting)}\`.`;
  return `- \`${names.join(", ")}${hint}\`: ${setting.describe}.${fallback}${from}`;
}

/** The part of the page that says every command, from the commands themselves. */
export async function commandReference(): Promise<string> {
  const parts: string[] = [];
  for (const { path, leaf } of leaves()) {
    const command = await leaf.load();
    const { positional } = command;
    const argument =
      positional === undefined
        ? ""
        : ` ${positional.min === 0 ? "[" : ""}${positional.name}${positional.max > 1 ? "…" : ""}${positional.min === 0 ? "]" : ""}`;
    parts.push(
      `### ${path.join(" ")}`,
      `\`transporter ${path.join(" ")} [flags]${argument}\`${leaf.aliases.length === 0 ? "" : ` (also ${leaf.aliases.map((alias) => `\`${alias}\``).join(", ")})`}`,
      `${command.summary}.${command.description === undefined ? "" : ` ${command.description}`}`,
      ...(positional === undefined
        ? []
        : [
            `\`${positional.name}\`: ${positional.describe}${positional.choices === undefined ? "" : ` (${positional.choices.join(", ")})`}.`,
          ]),
      Object.entries(command.settings)
        .map(([name, setting]) => flagLine(name, setting))
        .join("\n"),
      `\`\`\`text\n${command.examples.join("\n")}\n\`\`\``,
    );
  }
  return parts.filter((part) => part !== "").join("\n\n");
}

/** The page with its reference as it should be. */
export async function expectedPage(page: string): Promise<string> {
  const at = page.indexOf(BEGIN);
  if (at < 0) throw new Error(`the page has no line ${BEGIN}`);
  return `${page.slice(0, at + BEGIN.length)}\n\n${await commandReference()}\n`;
}

if (import.meta.main) await Bun.write(CLI_PAGE, await expectedPage(await Bun.file(CLI_PAGE).text()));
