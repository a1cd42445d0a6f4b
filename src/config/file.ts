import type { Document, Node } from "yaml";
import { TransporterError } from "../kit/mod.ts";
import { didYouMean } from "./suggest.ts";

export interface FileEntry {
  /** As written. */
  readonly name: string;
  readonly line: number;
  readonly value: unknown;
}

export interface ConfigFile {
  readonly path: string;
  /** By key in kebab-case. */
  readonly entries: ReadonlyMap<string, FileEntry>;
}

/** The form in which keys are compared: `ws_port`, `WS-Port` and `ws-port` are one key, as they were to 0.1. */
export function canonicalKey(name: string): string {
  return name.toLowerCase().replaceAll("_", "-");
}

/**
 * Reads a configuration file: one YAML map whose keys are named like the flags. Throws CONFIG_INVALID, naming file and line, for what
 * is not YAML, not a map, a key that no command knows, or a key that stands there twice.
 */
export async function parseConfigFile(text: string, path: string, known: ReadonlySet<string>): Promise<ConfigFile> {
  // Only those who have a file pay for the parser.
  const { LineCounter, isMap, isNode, isScalar, parseDocument } = await import("yaml");
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const fault = document.errors[0];
  if (fault !== undefined) {
    const at = lines.linePos(fault.pos[0]);
    throw new TransporterError("CONFIG_INVALID", `${path}:${at.line}:${at.col}: not YAML: ${fault.message}`);
  }
  const entries = new Map<string, FileEntry>();
  const root = document.contents;
  if (root === null) return { path, entries };
  if (!isMap(root)) throw new TransporterError("CONFIG_INVALID", `${path}: the file must be a map of settings, such as "ws-port: 8080"`);
  for (const pair of root.items) {
    const keyNode = pair.key;
    const name = isScalar(keyNode) ? String(keyNode.value) : "?";
    const line = isScalar(keyNode) && keyNode.range ? lines.linePos(keyNode.range[0]).line : 1;
    const key = canonicalKey(name);
    if (!known.has(key))
      throw new TransporterError("CONFIG_INVALID", `${path}:${line}: unknown key "${name}".${didYouMean(key, known)}`, {
        remedy: "Keys are named like the flags; `transporter cp --help` and `transporter agent --help` list them.",
      });
    const before = entries.get(key);
    if (before !== undefined)
      throw new TransporterError("CONFIG_INVALID", `${path}:${line}: "${name}" was already set on line ${before.line} as "${before.name}"`);
    entries.set(key, { name, line, value: isNode(pair.value) ? plainValue(pair.value, document, `${path}:${line}`) : pair.value });
  }
  return { path, entries };
}

function plainValue(node: Node, document: Document, where: string): unknown {
  try {
    // The count bounds what an alias bomb could expand to.
    return node.toJS(document, { maxAliasCount: 100 });
  } catch (error) {
    throw new TransporterError("CONFIG_INVALID", `${where}: its aliases cannot be resolved`, { cause: error });
  }
}
