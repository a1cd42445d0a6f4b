import { parser } from "@prometheus-io/lezer-promql";

interface Selector {
  readonly metric: string;
  readonly matchers: readonly { readonly label: string; readonly operator: string; readonly value: string }[];
}

interface Reading {
  /** What the grammar could not make sense of, as written. */
  readonly errors: readonly string[];
  readonly selectors: readonly Selector[];
  /** Named in `by`, `without`, `on`, `ignoring` and `group_left`. */
  readonly groupings: readonly string[];
  /** Of the outermost aggregation, which are all that its result has; undefined where there is none. */
  readonly outer: readonly string[] | undefined;
}

type Node = ReturnType<typeof parser.parse>["topNode"];

function descendants(node: Node, name: string): Node[] {
  const found: Node[] = [];
  node.cursor().iterate((one) => {
    if (one.name === name) found.push(one.node);
  });
  return found;
}

/** What an expression asks for, by Prometheus' own grammar for editors. */
export function read(expression: string): Reading {
  const { topNode } = parser.parse(expression);
  const text = ({ from, to }: { readonly from: number; readonly to: number }): string => expression.slice(from, to);
  const errors: string[] = [];
  topNode.cursor().iterate((node) => {
    if (node.type.isError) errors.push(`${node.from}: ${expression.slice(node.from, node.from + 20)}`);
  });
  const selectors = descendants(topNode, "VectorSelector").map((selector) => {
    const metric = selector.getChild("Identifier");
    const matchers = descendants(selector, "UnquotedLabelMatcher").map((matcher) => {
      const [label, operator, value] = ["LabelName", "MatchOp", "StringLiteral"].map((name) => {
        const part = matcher.getChild(name);
        return part === null ? "" : text(part);
      });
      return { label: label ?? "", operator: operator ?? "", value: (value ?? "").slice(1, -1) };
    });
    return { metric: metric === null ? "" : text(metric), matchers };
  });
  const labelsIn = (node: Node): string[] =>
    descendants(node, "GroupingLabels").flatMap((list) => descendants(list, "LabelName").map(text));
  // A function around an aggregation, such as histogram_quantile, keeps its labels.
  const outermost = descendants(topNode, "AggregateExpr")[0]?.getChild("AggregateModifier");
  return {
    errors,
    selectors,
    groupings: labelsIn(topNode),
    outer: outermost === undefined || outermost === null ? undefined : labelsIn(outermost),
  };
}
