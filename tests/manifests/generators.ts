import {
  type Arbitrary,
  array,
  bigInt,
  boolean,
  constant,
  constantFrom,
  double,
  integer,
  letrec,
  oneof,
  record,
  string,
  stringMatching,
  tuple,
  uniqueArray,
} from "fast-check";

/** Pieces that mean something to some YAML reader, next to some that mean nothing. */
const PIECES = [
  ..."0123456789".split(""),
  ..."xobeE_.+-:#,?!&*|>%@`~'\"\\[]{}<=/".split(""),
  ..."ynYN".split(""),
  " ",
  "  ",
  "\t",
  "\n  ",
  "\n    ",
  "\n\n  ",
  ": ",
  " #",
  "- ",
  "? ",
  "0x",
  "0o",
  "0b",
  "1e",
  "true",
  "no",
  "null",
  ".inf",
  ".nan",
  "<<",
  "!!str ",
  "!!int ",
  "&a ",
  "*a",
  "a",
  "text",
  "é",
  "😀",
  "\u0085",
  "\u2028",
  "\u00a0",
];

/** A text of such pieces; lines in it stay indented. */
export const plainText: Arbitrary<string> = array(constantFrom(...PIECES), { minLength: 0, maxLength: 7 }).map((pieces) => pieces.join(""));

const word = oneof(
  constantFrom("a", "b", "key", "name", "app.kubernetes.io/name", "a b", "x-y", "é", "0", "1.5", "yes", "no", "~x", "http://h:80/p?q=1"),
  stringMatching(/^[a-z][a-z0-9_.:/-]{0,12}[a-z0-9]$/),
);
const oddScalar = constantFrom(
  ..."0644 0o17 1_000 0x1F 0b11 1e3 1. .5 -0 +1 08 12:30 2001-01-01 y Off NULL ~ .5e1 1e400 9007199254740993 18446744073709551616".split(
    " ",
  ),
  "",
  "2.50",
  "-9223372036854775808",
  "0.1",
  "1.0",
  "*",
);
const number = oneof(integer().map(String), double({ noNaN: true, noDefaultInfinity: true }).map(String), bigInt().map(String));
const anyText = string({ unit: "binary", maxLength: 12 });

interface Rendering {
  /** Lines after the place where the value begins; the first one continues the line there. */
  readonly lines: readonly string[];
}
type Style = "block" | "flow";
interface Node {
  render(style: Style, indent: number): Rendering;
}

function singleQuoted(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
function doubleQuoted(text: string): string {
  return JSON.stringify(text).replaceAll("\u007f", "\\u007f").replaceAll("\u2028", "\\L");
}
function inline(text: string): Node {
  return { render: () => ({ lines: [text] }) };
}

const plainNode = oneof({ weight: 3, arbitrary: word }, { weight: 2, arbitrary: oddScalar }, { weight: 1, arbitrary: number }).map(inline);
const quotedNode = oneof(
  anyText.map((text) => inline(doubleQuoted(text))),
  oneof(word, oddScalar).map((text) => inline(singleQuoted(text))),
  oneof(word, oddScalar).map((text) => inline(doubleQuoted(text))),
);
const foldedNode: Arbitrary<Node> = record({
  head: constantFrom("|", ">", "|-", ">-", "|+", ">+", "|2", ">2-"),
  lines: array(constantFrom("a", "b c", "", "  d", "# e", "f: g", "- h", "\ti", "j  ", "é"), { minLength: 1, maxLength: 5 }),
}).map(({ head, lines }) => ({
  render(style, indent) {
    if (style === "flow") return { lines: [doubleQuoted(lines.join("\n"))] };
    return { lines: [head, ...lines.map((line) => (line === "" ? "" : `${" ".repeat(indent + 2)}${line}`))] };
  },
}));
const multiLine: Arbitrary<Node> = record({
  quote: constantFrom("", "'", '"'),
  words: array(constantFrom("a", "b", "", "12", "c d"), { minLength: 2, maxLength: 5 }),
}).map(({ quote, words }) => ({
  render: (_style, indent) => ({
    lines: [`${quote}s`, ...words.map((one) => (one === "" ? "" : " ".repeat(indent + 2) + one)), `${" ".repeat(indent + 2)}e${quote}`],
  }),
}));

const keyWord = oneof(
  constantFrom("a", "b", "key", "app.kubernetes.io/name", "a b", "x-y", "é"),
  stringMatching(/^[c-m][a-z0-9_.:/-]{0,12}[a-z0-9]$/),
);
const key = oneof(
  { weight: 8, arbitrary: keyWord },
  { weight: 1, arbitrary: oddScalar },
  { weight: 1, arbitrary: anyText.map(doubleQuoted) },
);
const comment = oneof({ weight: 6, arbitrary: constant("") }, { weight: 1, arbitrary: constantFrom(" # c", "  #", "\t# d") });

function mappingOf(value: Arbitrary<Node>): Arbitrary<Node> {
  const entry = record({ key, value, comment, gap: constantFrom("", "", "", "\n", "# between\n") });
  return record({
    // A key that stands twice is refused by us alone, and would hide what else differs.
    entries: uniqueArray(entry, { maxLength: 4, selector: (one) => one.key }),
    step: integer({ min: 1, max: 4 }),
    flow: boolean(),
  }).map(({ entries, step, flow }) => ({
    render(style, indent) {
      if (style === "flow" || flow || entries.length === 0) {
        const inner = entries.map((one) => `${one.key}: ${one.value.render("flow", indent).lines.join("\n")}`);
        return { lines: [`{${inner.join(", ")}}`] };
      }
      const pad = " ".repeat(indent + step);
      const lines = entries.flatMap((one) => {
        const [first = "", ...rest] = one.value.render("block", indent + step).lines;
        const gap = one.gap === "" ? [] : [one.gap.trimEnd()];
        return [...gap, `${pad}${one.key}:${first === "" ? "" : ` ${first}`}${rest.length === 0 ? one.comment : ""}`, ...rest];
      });
      return { lines: ["", ...lines] };
    },
  }));
}

function sequenceOf(value: Arbitrary<Node>): Arbitrary<Node> {
  return record({ items: array(value, { maxLength: 4 }), step: integer({ min: 0, max: 3 }), flow: boolean() }).map(
    ({ items, step, flow }) => ({
      render(style, indent) {
        if (style === "flow" || flow || items.length === 0)
          return { lines: [`[${items.map((one) => one.render("flow", indent).lines.join("\n")).join(", ")}]`] };
        const pad = " ".repeat(indent + step);
        return {
          lines: [
            "",
            ...items.flatMap((one) => {
              const [first = "", ...rest] = one.render("block", indent + step + 1).lines;
              return [`${pad}-${first === "" ? "" : ` ${first}`}`, ...rest];
            }),
          ],
        };
      },
    }),
  );
}

function decorated(value: Arbitrary<Node>): Arbitrary<Node> {
  const properties = constantFrom("&a", "&b", "!!str", "!", "!local", "&a !!str", "!!map", "!!int");
  return record({ properties, value }).map(({ properties, value }) => ({
    render(style, indent) {
      const [first = "", ...rest] = value.render(style, indent).lines;
      return { lines: [`${properties}${first === "" ? "" : ` ${first}`}`, ...rest] };
    },
  }));
}

const leaf = oneof(
  { weight: 5, arbitrary: plainNode },
  { weight: 3, arbitrary: quotedNode },
  { weight: 2, arbitrary: foldedNode },
  { weight: 1, arbitrary: multiLine },
  { weight: 1, arbitrary: constantFrom("*a", "*b").map(inline) },
);
const { node } = letrec<{ node: Node }>((tie) => ({
  node: oneof(
    { depthSize: "small", withCrossShrink: true },
    { weight: 4, arbitrary: leaf },
    { weight: 4, arbitrary: mappingOf(tie("node")) },
    { weight: 3, arbitrary: sequenceOf(tie("node")) },
    { weight: 1, arbitrary: decorated(tie("node")) },
  ),
}));

/** The value of a field at the left margin: nested mappings and lists in every style, with comments, anchors, aliases and tags. */
export const wholeDocument: Arbitrary<string> = node.map((one) => {
  const [first = "", ...rest] = one.render("block", 0).lines;
  // An alias without its anchor is refused by everybody; most documents should be good ones.
  const text = [first === "" ? "" : ` ${first}`, ...rest].join("\n");
  const defined = new Set([...text.matchAll(/&([ab])\b/g)].map((match) => match[1]));
  return `${text.replaceAll(/\*([ab])\b/g, (alias, name: string) => (defined.has(name) ? alias : "alias"))}\n`;
});

const damage = record({
  at: double({ min: 0, max: 1, noNaN: true }),
  remove: integer({ min: 0, max: 3 }),
  insert: constantFrom(...PIECES, "", "", "\n", "\n ", ":", "{", "[", "}", "]", "\t", "'", '"'),
});

/** A whole document with up to three places damaged. A separator would make it two documents, which is not what is compared here. */
export const brokenDocument: Arbitrary<string> = tuple(wholeDocument, array(damage, { minLength: 1, maxLength: 3 }))
  .map(([text, damages]) => {
    let broken = text;
    for (const { at, remove, insert } of damages) {
      const points = Array.from(broken);
      points.splice(Math.floor(at * points.length), remove, insert);
      broken = points.join("");
    }
    return broken;
  })
  .filter((text) => !/^---/m.test(text));

const jsonNumber = oneof(
  number,
  constantFrom(
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1e3",
    "1E+3",
    "1e21",
    "1e-7",
    "9007199254740993",
    "-9223372036854775809",
    "18446744073709551615",
    "1e400",
    "01",
    "1.",
    ".5",
    "+1",
  ),
);
const jsonString = oneof(
  anyText.map((text) => JSON.stringify(text)),
  constantFrom('"\\/"', '"\\u0042"', '"\\ud83d\\ude00"', '"\\x41"', '"\t"', '"yes"', '"0644"', '"\u007f"', '"\u2028"'),
);
const { json } = letrec<{ json: string }>((tie) => {
  const blank = constantFrom("", "", "", " ", "\n", "\t");
  return {
    json: oneof(
      { depthSize: "small" },
      { weight: 4, arbitrary: oneof(jsonNumber, jsonString, constantFrom("true", "false", "null")) },
      {
        weight: 2,
        arbitrary: tuple(array(tie("json"), { maxLength: 4 }), blank).map(([items, gap]) => `[${gap}${items.join(`,${gap}`)}${gap}]`),
      },
      {
        weight: 3,
        arbitrary: tuple(uniqueArray(tuple(jsonString, tie("json")), { maxLength: 4, selector: ([name]) => name }), blank).map(
          ([entries, gap]) => `{${gap}${entries.map(([name, value]) => `${name}${gap}:${gap}${value}`).join(`${gap},`)}}`,
        ),
      },
    ),
  };
});

/** JSON values, one in eight of them damaged: then they may be YAML, or nothing. */
export const jsonDocument: Arbitrary<string> = oneof(
  { weight: 7, arbitrary: json },
  {
    weight: 1,
    arbitrary: tuple(json, damage)
      .map(([text, { at, remove, insert }]) => {
        const points = Array.from(text);
        points.splice(Math.floor(at * points.length), remove, insert);
        return points.join("");
      })
      .filter((text) => !/^---/m.test(text)),
  },
);
