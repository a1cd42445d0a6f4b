import { COMMON_SETTINGS, type Settings, didYouMean } from "../config/mod.ts";
import { TransporterError } from "../kit/mod.ts";
import { type Group, type Leaf, type Node, childOf, leaves } from "./tree.ts";

/** Where a command line leads. */
export type Located =
  | { readonly kind: "leaf"; readonly path: readonly string[]; readonly leaf: Leaf; readonly args: readonly string[] }
  | { readonly kind: "help"; readonly path: readonly string[]; readonly group: Group; readonly asked: boolean };

/** The flags that may stand before the name of a command of this group: 0.1 took a command's flags there too. */
async function earlySettings(group: Node, isRoot: boolean): Promise<Settings> {
  if (isRoot) return COMMON_SETTINGS;
  const commands = await Promise.all(leaves(group).map(({ leaf }) => leaf.load()));
  return Object.assign({}, ...commands.map((command) => command.settings)) as Settings;
}

/**
 * Finds the command that the words name. Loads no command unless flags stand before its name. Throws USAGE for a word that names
 * nothing, with what was probably meant.
 */
export async function locate(argv: readonly string[], root: Group): Promise<Located> {
  let node: Node = root;
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
    if (child === undefined) throw unknownCommand(node, word, here);
    path.push(child.name);
    at += 1;
    node = child;
    if (node.kind === "group") continue;
    // A command with others below it: the very next word says which is meant, and one that names none is no argument of it either.
    const next = argv[at];
    if (node.children.length > 0 && next !== undefined && !next.startsWith("-")) continue;
    return { kind: "leaf", path, leaf: node, args: [...early, ...argv.slice(at), ...(asksHelp ? ["--help"] : [])] };
  }
  if (node.kind === "leaf") return { kind: "leaf", path, leaf: node, args: [...early, ...(asksHelp ? ["--help"] : [])] };
  return { kind: "help", path, group: node, asked: asksHelp || node === root };
}

function unknownCommand(node: Node, word: string, here: string): TransporterError {
  const names = node.children.flatMap((each) => [each.name, ...each.aliases]);
  return new TransporterError("USAGE", `unknown command ${JSON.stringify(word)} for "${here}".${didYouMean(word, names)}`, {
    remedy: `\`${here} --help\` lists the commands.`,
  });
}

async function takeEarlyFlag(
  argv: readonly string[],
  at: number,
  early: string[],
  group: Node,
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
