import { type CommandDef, defineCommand, runCommand } from "citty";
import { type Group, type Node, childOf } from "./tree.ts";

/**
 * Walks to the command by citty, once the strict pass has accepted the command line. citty keeps only the last of a repeated flag, lets
 * unknown ones pass, reads `--flag=off` as on, and loads every command to look for an unknown one: so it is handed nothing but the path.
 */
export async function dispatch(root: Group, path: readonly string[], run: () => Promise<number>): Promise<number> {
  let code = 0;
  const define = (node: Node, words: readonly string[]): CommandDef => {
    const meta = { name: node.name, description: node.summary };
    if (node.kind === "leaf" && words.length === 0)
      return defineCommand({
        meta,
        run: async () => {
          code = await run();
        },
      });
    const [word = "", ...rest] = words;
    const child = childOf(node, word);
    return defineCommand({ meta, subCommands: child === undefined ? {} : { [word]: () => define(child, rest) } });
  };
  await runCommand(define(root, path), { rawArgs: [...path] });
  return code;
}
