import { type Setting, envName } from "../config/mod.ts";
import type { Command } from "./command.ts";
import type { Group, Node } from "./tree.ts";
import { type Paint, displayWidth } from "./text.ts";

const padded = (text: string, columns: number): string => text + " ".repeat(Math.max(0, columns - displayWidth(text)));

function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && displayWidth(line) + 1 + displayWidth(word) > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines;
}

function flagHead(name: string, setting: Setting<unknown>): string {
  const short = setting.short === undefined ? "    " : `-${setting.short}, `;
  const hint = setting.kind === "switch" ? "" : ` ${setting.hint ?? "VALUE"}`;
  return `${short}--${name}${hint}`;
}

function flagNotes(name: string, setting: Setting<unknown>): string {
  const notes: string[] = [];
  if (setting.defaultText !== undefined && !(setting.kind === "switch" && setting.defaultText === "false"))
    notes.push(`default ${setting.defaultText === "" ? '""' : setting.defaultText}`);
  if (setting.flagOnly !== true) notes.push(envName(name, setting));
  return notes.length === 0 ? "" : ` (${notes.join("; ")})`;
}

function commandLines(children: readonly Node[]): string[] {
  const heads = children.map((child) => [child.name, ...child.aliases].join(", "));
  const width = Math.max(...heads.map(displayWidth));
  return children.map((child, index) => `  ${padded(heads[index] ?? "", width)}  ${child.summary}`);
}

/** The text of `COMMAND --help`; `below` are the commands that stand below this one. */
export function commandHelp(path: readonly string[], command: Command, below: readonly Node[], paint: Paint, columns: number): string {
  const line = ["transporter", ...path].join(" ");
  const flags = Object.entries(command.settings).filter(([, setting]) => setting.hidden !== true);
  const { positional } = command;
  const argument =
    positional === undefined
      ? ""
      : positional.min === 0
        ? ` [${positional.name}${positional.max > 1 ? "…" : ""}]`
        : ` ${positional.name}${positional.max > 1 ? "…" : ""}`;
  const out = [`${command.summary}.`, ""];
  if (command.description !== undefined)
    for (const paragraph of command.description.split("\n\n"))
      out.push(...wrap(paragraph.replaceAll("\n", " "), Math.min(columns, 100)), "");
  out.push(paint("bold", "Usage"), `  ${line} [flags]${argument}`, ...(below.length === 0 ? [] : [`  ${line} COMMAND [flags]`]), "");
  if (below.length > 0) out.push(paint("bold", "Commands"), ...commandLines(below), "");
  if (positional !== undefined) {
    const choices = positional.choices === undefined ? "" : ` (${positional.choices.join(", ")})`;
    const indent = " ".repeat(displayWidth(positional.name) + 4);
    const [first = "", ...more] = wrap(`${positional.describe}${choices}`, Math.max(40, Math.min(columns, 100) - indent.length));
    out.push(paint("bold", "Arguments"), `  ${positional.name}  ${first}`, ...more.map((line) => `${indent}${line}`), "");
  }
  const heads = flags.map(([name, setting]) => flagHead(name, setting));
  const width = Math.min(34, Math.max(...heads.map(displayWidth), displayWidth("-h, --help")));
  out.push(paint("bold", "Flags"));
  const room = Math.max(40, columns - width - 4);
  const row = (head: string, text: string): void => {
    const lines = wrap(text, room);
    if (displayWidth(head) > width) out.push(`  ${head}`, ...lines.map((each) => `  ${" ".repeat(width)}  ${each}`));
    else out.push(`  ${padded(head, width)}  ${lines[0] ?? ""}`, ...lines.slice(1).map((each) => `  ${" ".repeat(width)}  ${each}`));
  };
  flags.forEach(([name, setting], index) => row(heads[index] ?? "", `${setting.describe}${flagNotes(name, setting)}`));
  row("-h, --help", "Show this");
  out.push("", paint("bold", "Examples"), ...command.examples.map((example) => `  ${example}`), "");
  return out.join("\n");
}

/** The text of `GROUP --help`, and of the program's own. */
export function groupHelp(path: readonly string[], node: Group, paint: Paint): string {
  const line = ["transporter", ...path].join(" ");
  const out = [`${node.summary}.`, "", paint("bold", "Usage"), `  ${line} COMMAND [flags]`, "", paint("bold", "Commands")];
  out.push(...commandLines(node.children));
  out.push(
    "",
    `\`${line} COMMAND --help\` says more about a command.${path.length === 0 ? " `transporter --version` prints the version." : ""}`,
    "",
  );
  return out.join("\n");
}
