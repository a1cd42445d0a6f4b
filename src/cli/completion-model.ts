import type { Completes, Setting } from "../config/mod.ts";
import { type Group, type Node, ROOT } from "./tree.ts";

export interface CompletionFlag {
  readonly name: string;
  readonly short: string | undefined;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
  readonly completes: Completes | undefined;
  readonly describe: string;
}

export interface CompletionNode {
  /** The words that lead here, without the program's name; "" for the program itself. */
  readonly path: string;
  /** Names and aliases of what may come next, with what they are. */
  readonly children: readonly { readonly names: readonly string[]; readonly describe: string }[];
  readonly flags: readonly CompletionFlag[];
  readonly choices: readonly string[];
  readonly completes: Completes | undefined;
}

function flagOf(name: string, setting: Setting<unknown>): CompletionFlag {
  return {
    name,
    short: setting.short,
    takesValue: setting.kind !== "switch",
    choices: setting.choices ?? [],
    completes: setting.completes,
    describe: setting.describe,
  };
}

const HELP: CompletionFlag = { name: "help", short: "h", takesValue: false, choices: [], completes: undefined, describe: "Show help" };

/** The command tree as the generators of completion scripts need it: one entry for each place on the way. */
export async function completionModel(root: Group = ROOT): Promise<readonly CompletionNode[]> {
  const out: CompletionNode[] = [];
  const visit = async (node: Node, path: readonly string[]): Promise<void> => {
    const children = node.children.map((child) => ({ names: [child.name, ...child.aliases], describe: child.summary }));
    if (node.kind === "leaf") {
      const command = await node.load();
      out.push({
        path: path.join(" "),
        children,
        flags: [
          ...Object.entries(command.settings)
            .filter(([, setting]) => setting.hidden !== true)
            .map(([name, setting]) => flagOf(name, setting)),
          HELP,
        ],
        choices: command.positional?.choices ?? [],
        completes: command.positional?.completes,
      });
    } else
      out.push({
        path: path.join(" "),
        children,
        flags: path.length === 0 ? [HELP, { ...HELP, name: "version", short: "v", describe: "Print the version" }] : [HELP],
        choices: [],
        completes: undefined,
      });
    for (const child of node.children) await visit(child, [...path, child.name]);
  };
  await visit(root, []);
  return out;
}

/** Every alias on the way with the name it stands for: `PATH ALIAS` to `PATH NAME`. */
export function aliasesOf(nodes: readonly CompletionNode[]): readonly (readonly [string, string])[] {
  return nodes.flatMap((node) =>
    node.children.flatMap(({ names: [name = "", ...aliases] }) =>
      aliases.map((alias) => [`${node.path} ${alias}`.trim(), `${node.path} ${name}`.trim()] as const),
    ),
  );
}

/** The flags of a place that the next word belongs to, as they are typed. */
export function valueWordsOf(node: CompletionNode): readonly string[] {
  return node.flags
    .filter((flag) => flag.takesValue)
    .flatMap((flag) => [`--${flag.name}`, ...(flag.short === undefined ? [] : [`-${flag.short}`])]);
}
