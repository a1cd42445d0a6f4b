import { parseSync } from "oxc-parser";

/** One change of a source: what stands from `start` to `end` becomes `replacement`. */
export interface Mutant {
  readonly file: string;
  readonly line: number;
  readonly what: string;
  readonly start: number;
  readonly end: number;
  readonly original: string;
  readonly replacement: string;
  /** The whole lines around it. */
  readonly context: string;
}

/** A node of the ESTree, as far as it is looked at here. */
interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [field: string]: unknown;
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string" && "start" in value;
}

function nodeAt(node: Node, field: string): Node {
  const child = node[field];
  if (!isNode(child)) throw new Error(`${node.type} has no ${field}`);
  return child;
}

const FLIPPED: Readonly<Record<string, string>> = { "===": "!==", "!==": "===", "==": "!=", "!=": "==" };
/** One place further: a test of the very bound tells them apart. */
const MOVED: Readonly<Record<string, string>> = { "<": "<=", "<=": "<", ">": ">=", ">=": ">" };
/** What an operand of these can be replaced by without deciding anything. */
const NEUTRAL: Readonly<Record<string, string>> = { "&&": "true", "||": "false" };

/**
 * Every way to take a check out of a source: each `throw` left out; each condition always false or always true; each part of one left out;
 * each comparison turned round, each bound moved by one, each number that has a name doubled.
 */
export function mutantsOf(file: string, source: string): Mutant[] {
  const { program, errors } = parseSync(file, source);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]?.message ?? "cannot be parsed"}`);
  const mutants: Mutant[] = [];
  const add = (what: string, node: Node, replacement: string): void => {
    const { start, end } = node;
    const lineStart = source.lastIndexOf("\n", start) + 1;
    const lineEnd = source.indexOf("\n", end);
    mutants.push({
      file,
      line: source.slice(0, start).split("\n").length,
      what,
      start,
      end,
      original: source.slice(start, end),
      replacement,
      context: source.slice(lineStart, lineEnd < 0 ? undefined : lineEnd),
    });
  };
  const text = (node: Node): string => source.slice(node.start, node.end);
  const condition = (test: Node): void => {
    add("condition false", test, "false");
    add("condition true", test, "true");
  };
  const number = (declarator: Node): void => {
    const { id, init } = declarator;
    if (!isNode(id) || !isNode(init) || !/^[A-Z][A-Z0-9_]*$/.test(String(id["name"]))) return;
    if (/^[\d_.\s*+()-]+$/.test(text(init))) add("number doubled", init, `(${text(init)}) * 2`);
  };
  const visit = (node: Node): void => {
    switch (node.type) {
      case "ThrowStatement":
        add("throw left out", node, "{}");
        break;
      case "IfStatement":
      case "ConditionalExpression":
        condition(nodeAt(node, "test"));
        break;
      case "LogicalExpression": {
        const neutral = NEUTRAL[String(node["operator"])];
        if (neutral === undefined) break;
        add("part left out", nodeAt(node, "left"), neutral);
        add("part left out", nodeAt(node, "right"), neutral);
        break;
      }
      case "BinaryExpression": {
        const operator = String(node["operator"]);
        const [left, right] = [nodeAt(node, "left"), nodeAt(node, "right")];
        const other = FLIPPED[operator] ?? MOVED[operator];
        if (other !== undefined)
          add(FLIPPED[operator] === undefined ? "bound moved" : "comparison turned", node, `${text(left)} ${other} ${text(right)}`);
        break;
      }
      case "UnaryExpression":
        if (node["operator"] === "!") add("negation left out", node, text(nodeAt(node, "argument")));
        break;
      case "VariableDeclarator":
        number(node);
        break;
      // Types are no checks.
      case "TSTypeAliasDeclaration":
      case "TSInterfaceDeclaration":
        return;
      default:
        break;
    }
    for (const value of Object.values(node)) {
      if (Array.isArray(value)) {
        for (const child of value) if (isNode(child)) visit(child);
      } else if (isNode(value)) visit(value);
    }
  };
  if (isNode(program)) visit(program);
  return mutants;
}
