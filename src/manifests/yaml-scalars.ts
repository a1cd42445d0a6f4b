import { CODE, isBlank, isBlankOrEnd, isBreak, isBreakOrEnd, isDigit, type YamlCursor } from "./yaml-cursor.ts";

/** Line breaks between two pieces of a scalar, folded: one becomes a space, more lose one. LS and PS are kept as they are. */
function foldedBreaks(first: string, rest: string): string {
  if (first !== "\n" && first !== "") return first + rest;
  return rest === "" ? " " : rest;
}

function endsPlainInFlow(code: number): boolean {
  return (
    code === CODE.comma ||
    code === CODE.question ||
    code === CODE.openBracket ||
    code === CODE.closeBracket ||
    code === CODE.openBrace ||
    code === CODE.closeBrace
  );
}

/** Where the run of a plain scalar's characters from `start` ends. */
function plainRunEnd(text: string, start: number, inFlow: boolean): number {
  let end = start;
  for (let code = text.charCodeAt(end); !isBlankOrEnd(code); code = text.charCodeAt(++end)) {
    if (code === CODE.colon && isBlankOrEnd(text.charCodeAt(end + 1))) break;
    if (inFlow && endsPlainInFlow(code)) break;
  }
  return end;
}

/**
 * A plain scalar, over several lines where they are indented by `indent` or more.
 * `endsLine` says that it ran into a new line, where a key may start again.
 */
export function scanPlain(cursor: YamlCursor, indent: number, inFlow: boolean): { readonly value: string; readonly endsLine: boolean } {
  const { text } = cursor;
  const start = cursor.pos;
  let value = "";
  let blanks = "";
  let firstBreak = "";
  let moreBreaks = "";
  let onNewLine = false;
  for (;;) {
    if (cursor.atDocumentEnd() || cursor.code() === CODE.hash) break;
    const end = plainRunEnd(text, cursor.pos, inFlow);
    if (end > cursor.pos) {
      value += (onNewLine ? foldedBreaks(firstBreak, moreBreaks) : blanks) + text.slice(cursor.pos, end);
      onNewLine = false;
      firstBreak = moreBreaks = blanks = "";
      cursor.pos = end;
    }
    if (!isBlank(cursor.code()) && !isBreak(cursor.code())) break;
    for (let code = cursor.code(); isBlank(code) || isBreak(code); code = cursor.code()) {
      if (isBlank(code)) {
        if (onNewLine && cursor.column < indent && code === CODE.tab)
          throw cursor.fault(cursor.pos, "a tab cannot indent", "Indent with spaces only.");
        const from = cursor.pos;
        cursor.pos += 1;
        if (!onNewLine) blanks += text.slice(from, cursor.pos);
      } else if (onNewLine) moreBreaks += cursor.takeBreak();
      else {
        blanks = "";
        firstBreak = cursor.takeBreak();
        onNewLine = true;
      }
    }
    if (!inFlow && cursor.column < indent) break;
  }
  if (cursor.pos === start) throw cursor.fault(start, "a value cannot start here");
  return { value, endsLine: onNewLine };
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ["0", "\0"],
  ["a", "\u0007"],
  ["b", "\b"],
  ["t", "\t"],
  ["\t", "\t"],
  ["n", "\n"],
  ["v", "\u000b"],
  ["f", "\f"],
  ["r", "\r"],
  ["e", "\u001b"],
  [" ", " "],
  ['"', '"'],
  ["'", "'"],
  ["\\", "\\"],
  ["N", "\u0085"],
  ["_", "\u00a0"],
  ["L", "\u2028"],
  ["P", "\u2029"],
]);
const HEX_ESCAPES: ReadonlyMap<string, number> = new Map([
  ["x", 2],
  ["u", 4],
  ["U", 8],
]);

function takeEscape(cursor: YamlCursor): string {
  const at = cursor.pos;
  const letter = cursor.text.charAt(at + 1);
  cursor.pos += 2;
  const simple = ESCAPES.get(letter);
  if (simple !== undefined) return simple;
  const digits = HEX_ESCAPES.get(letter);
  if (digits === undefined)
    throw cursor.fault(at, `"\\${letter === "\0" ? "" : letter}" is not an escape`, "Write a backslash as \\\\, or use single quotes.");
  const hex = cursor.text.slice(cursor.pos, cursor.pos + digits);
  if (hex.length !== digits || !/^[0-9a-f]+$/i.test(hex)) throw cursor.fault(at, `"\\${letter}" needs ${digits} hexadecimal digits`);
  const point = Number.parseInt(hex, 16);
  if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) throw cursor.fault(at, `"\\${letter}${hex}" is not a character`);
  cursor.pos += digits;
  return String.fromCodePoint(point);
}

/** The run of ordinary characters and escapes up to a blank, a break, the end or the closing quote; true when an escaped break ended it. */
function takeQuotedRun(cursor: YamlCursor, quote: number, take: (piece: string) => void): boolean {
  const { text } = cursor;
  for (;;) {
    const from = cursor.pos;
    let end = from;
    for (let code = text.charCodeAt(end); !isBlankOrEnd(code) && code !== quote; code = text.charCodeAt(++end))
      if (code === CODE.backslash && quote === CODE.doubleQuote) break;
    if (end > from) take(text.slice(from, end));
    cursor.pos = end;
    const code = cursor.code();
    if (quote === CODE.singleQuote) {
      if (code !== quote || cursor.code(1) !== quote) return false;
      take("'");
      cursor.pos += 2;
    } else {
      if (code !== CODE.backslash) return false;
      if (isBreak(cursor.code(1))) {
        cursor.pos += 1;
        cursor.takeBreak();
        return true;
      }
      take(takeEscape(cursor));
    }
  }
}

/** A single- or double-quoted scalar; the cursor stands on its opening quote. */
export function scanQuoted(cursor: YamlCursor, quote: number): string {
  const start = cursor.pos;
  const { text } = cursor;
  let value = "";
  const take = (piece: string): void => {
    value += piece;
  };
  cursor.pos += 1;
  for (;;) {
    if (cursor.atDocumentEnd()) throw cursor.fault(start, "the quoted text is not closed before the document ends");
    if (cursor.code() === CODE.end) throw cursor.fault(start, "the quoted text is never closed");
    let onNewLine = takeQuotedRun(cursor, quote, take);
    if (cursor.code() === quote) break;
    let firstBreak = "";
    let moreBreaks = "";
    const blanksFrom = cursor.pos;
    let blanksTo = cursor.pos;
    // An escaped break leaves no break to fold, so that blank lines after it are kept as they are.
    for (let code = cursor.code(); isBlank(code) || isBreak(code); code = cursor.code()) {
      if (isBlank(code)) {
        cursor.pos += 1;
        if (!onNewLine) blanksTo = cursor.pos;
      } else if (onNewLine) moreBreaks += cursor.takeBreak();
      else {
        blanksTo = blanksFrom;
        firstBreak = cursor.takeBreak();
        onNewLine = true;
      }
    }
    if (!onNewLine) value += text.slice(blanksFrom, blanksTo);
    else value += firstBreak === "" ? moreBreaks : foldedBreaks(firstBreak, moreBreaks);
  }
  cursor.pos += 1;
  return value;
}

interface BlockHeader {
  readonly chomp: "strip" | "clip" | "keep";
  /** 0: to be found out. */
  readonly increment: number;
}

function takeBlockHeader(cursor: YamlCursor, start: number): BlockHeader {
  let chomp: BlockHeader["chomp"] = "clip";
  let increment = 0;
  const takeChomp = (): boolean => {
    const code = cursor.code();
    if (code !== CODE.plus && code !== CODE.dash) return false;
    chomp = code === CODE.plus ? "keep" : "strip";
    cursor.pos += 1;
    return true;
  };
  const takeIncrement = (): void => {
    if (!isDigit(cursor.code())) return;
    increment = cursor.code() - CODE.zero;
    if (increment === 0) throw cursor.fault(cursor.pos, "a block cannot be indented by 0");
    cursor.pos += 1;
  };
  if (takeChomp()) takeIncrement();
  else {
    takeIncrement();
    if (increment > 0) takeChomp();
  }
  cursor.skipBlanks();
  if (cursor.code() === CODE.hash) cursor.pos = cursor.lineEnd();
  if (!isBreakOrEnd(cursor.code())) throw cursor.fault(start, "only a comment may follow the | or > of a block on its line");
  cursor.takeBreak();
  return { chomp, increment };
}

/** Goes over indentation and empty lines; finds out the indentation where `indent` is 0. */
function takeBlockBreaks(cursor: YamlCursor, indent: number, parentIndent: number): { readonly breaks: string; readonly indent: number } {
  const until = indent === 0 ? Number.POSITIVE_INFINITY : indent;
  let breaks = "";
  let widest = 0;
  for (;;) {
    while (cursor.code() === CODE.space && cursor.column < until) cursor.pos += 1;
    widest = Math.max(widest, cursor.column);
    if (cursor.column < until && cursor.code() === CODE.tab)
      throw cursor.fault(cursor.pos, "a tab cannot indent", "Indent with spaces only.");
    if (!isBreak(cursor.code())) break;
    breaks += cursor.takeBreak();
  }
  return { breaks, indent: indent === 0 ? Math.max(widest, parentIndent + 1, 1) : indent };
}

/** A literal or folded block scalar; the cursor stands on its `|` or `>`. `parentIndent` is -1 at the top of a document. */
export function scanBlock(cursor: YamlCursor, literal: boolean, parentIndent: number): string {
  const start = cursor.pos;
  cursor.pos += 1;
  const header = takeBlockHeader(cursor, start);
  const given = header.increment === 0 ? 0 : Math.max(parentIndent, 0) + header.increment;
  let { breaks, indent } = takeBlockBreaks(cursor, given, parentIndent);
  let value = "";
  let lineBreak = "";
  let afterBlank = false;
  while (cursor.column === indent && cursor.code() !== CODE.end) {
    const startsBlank = isBlank(cursor.code());
    if (!literal && !afterBlank && !startsBlank && lineBreak === "\n") {
      if (breaks === "") value += " ";
    } else value += lineBreak;
    value += breaks;
    afterBlank = startsBlank;
    const end = cursor.lineEnd();
    value += cursor.text.slice(cursor.pos, end);
    cursor.pos = end;
    lineBreak = cursor.takeBreak();
    ({ breaks } = takeBlockBreaks(cursor, indent, parentIndent));
  }
  if (header.chomp !== "strip") value += lineBreak;
  if (header.chomp === "keep") value += breaks;
  return value;
}
