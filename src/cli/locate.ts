import { COMMON_SETTINGS, type Settings, didYouMean } from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import { type Group, type Leaf, childOf, leaves } from "./tree.ts";

/** Where a command line leads. */
export type Located =
  | { readonly kind: "leaf"; readonly path: readonly string[]; readonly leaf: Leaf; readonly args: readonly string[] }
  | { readonly kind: "help"; readonly path: readonly string[]; readonly group: Group; readonly asked: boolean };

/** The flags that may stand before the name of a command of this group: 0.1 took a command's flags there too. */
async function earlySettings(group: Group, isRoot: boolean): Promise<Settings> {
  if (isRoot) return COMMON_SETTINGS;
  const commands = await Promise.all(leaves(group).map(({ leaf }) => leaf.load()));
  return Object.assign({}, ...commands.map((command) => command.settings)) as Settings;
}

/**
 * Finds the command that the words name. Loads no command unless flags stand before its name. Throws USAGE for a word that names
 * nothing, with what was probably meant.
 */
export async function locate(argv: readonly string[], root: Group): Promise<Located> {
  let node = root;
  const path: string[] = [];
  const early: string[] = [];
  let asksHelp = false;
  let at = 0;
  while (at < argv.length) {
    const word = argv[at] ?? "";
    const here = ["transporter", ...path].join(" ");
    if (word === "--help" || word === "-h" || (word === "help" && path.length === 0 && !asksHelp)) {
      asksHelp = true;
      at += 1;
      continue;
    }
    if (word.startsWith("-")) {
      at += await takeEarlyFlag(argv, at, early, node, node === root, here);
      continue;
    }
    const child = childOf(node, word);
    if (child === undefined) {
      const names = node.children.flatMap((each) => [each.name, ...each.aliases]);
      throw new TransporterError("USAGE", `unknown command ${JSON.stringify(word)} for "${here}".${didYouMean(word, names)}`, {
        remedy: `\`${here} --help\` lists the commands.`,
      });
    }
    path.push(child.name);
    at += 1;
    if (child.kind === "leaf")
      return { kind: "leaf", path, leaf: child, args: [...early, ...argv.slice(at), ...(asksHelp ? ["--help"] : [])] };
    node = child;
  }
  return { kind: "help", path, group: node, asked: asksHelp || node === root };
}

async function takeEarlyFlag(
  argv: readonly string[],
  at: number,
  early: string[],
  group: Group,
  isRoot: boolean,
  here: string,
): Promise<number> {
  const token = argv[at] ?? "";
  const settings = await earlySettings(group, isRoot);
  const typed = token.replace(/^-+/, "").split("=")[0] ?? "";
  const isLong = token.startsWith("--");
  const name = isLong
    ? typed
    : Object.entries(settings).find(([, setting]) => setting.short !== undefined && setting.short === typed[0])?.[0];
  const setting = name === undefined ? undefined : (settings[name] ?? settings[name.replace(/^no-/, "")]);
  if (setting === undefined)
    throw new TransporterError(
      "USAGE",
      `unknown flag ${token.split("=")[0] ?? token} for "${here}".${isLong ? didYouMean(typed, Object.keys(settings), "--") : ""}`,
      {
        remedy: `Flags of a command stand after its name; \`${here} --help\` lists the commands.`,
      },
    );
  early.push(token);
  const takesNext = setting.kind !== "switch" && !token.includes("=") && (isLong || token.length === 2);
  const next = argv[at + 1];
  if (!takesNext || next === undefined) return 1;
  early.push(next);
  return 2;
}
