import { isTimestamp, resolvePlain } from "./scalars.ts";

/** How a text is written: as go-yaml v2 decides, which kubectl writes YAML with. */
export type ScalarStyle = "plain" | "single" | "double" | "literal";

/** Longer lines are folded at a blank. */
export const BEST_WIDTH = 80;

const BASE60 = /^[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?$/;
/** Nothing in here needs a second look at any place of a value: the most of all texts. */
const SIMPLE = /^[A-Za-z_/][A-Za-z0-9_./-]*$/;
/**
 * What go-yaml v2 does not count as printable: tabs, carriage returns and everything beyond the first plane among it. The line ends of
 * Unicode it would write as they are, and garble on the way: they are escaped here, so that a line is a line to everybody.
 */
const SPECIAL = /[^\n\u0020-\u007e\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd]/;

function resolvesToText(text: string): boolean {
  return resolvePlain(text).type === "string" && !isTimestamp(text) && !BASE60.test(text);
}

/** Whether a block scalar's indicators are in the way of writing a text plainly. */
function hasIndicators(text: string): boolean {
  if (/^(?:---|\.\.\.)/.test(text) || /^[#,[\]{}&*!|>'"%@`]/.test(text)) return true;
  if (/^[?:-](?:[ \t]|$)/.test(text)) return true;
  return /:(?:[ \t]|$)/.test(text) || /[ \n]#/.test(text);
}

/** `key`: it has to stay on one line. */
export function styleOf(text: string, key: boolean): ScalarStyle {
  if (SIMPLE.test(text) && text.length > 5) return "plain";
  const special = SPECIAL.test(text);
  if (text.includes("\n")) return key || special || text.endsWith(" ") || text.includes(" \n") ? "double" : "literal";
  if (special || !resolvesToText(text)) return "double";
  return text.startsWith(" ") || text.endsWith(" ") || hasIndicators(text) ? "single" : "plain";
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\u0000": "0",
  "\u0007": "a",
  "\b": "b",
  "\t": "t",
  "\n": "n",
  "\v": "v",
  "\f": "f",
  "\r": "r",
  "\u001b": "e",
  '"': '"',
  "\\": "\\",
  "\u0085": "N",
  "\u00a0": "_",
  "\u2028": "L",
  "\u2029": "P",
};

/** A character as it stands in double quotes; itself where it needs no escape. */
export function escapeChar(char: string, all: boolean): string {
  if (!all && char !== '"' && char !== "\\" && char !== "\n" && !SPECIAL.test(char)) return char;
  const short = ESCAPES[char];
  if (short !== undefined) return `\\${short}`;
  const code = char.codePointAt(0) ?? 0;
  const hex = code.toString(16).toUpperCase();
  if (code <= 0xff) return `\\x${hex.padStart(2, "0")}`;
  return code <= 0xffff ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** Go's FormatFloat(value, 'g', -1, 64) of a number that is no whole one, and whole ones in full. */
export function numberText(value: number | bigint): string {
  if (typeof value === "bigint" || (Number.isInteger(value) && Math.abs(value) < 2 ** 63)) return String(value);
  const [mantissa = "", exponentText = "0"] = value.toExponential().split("e");
  const exponent = Number(exponentText);
  // Within these bounds JavaScript, too, writes it without an exponent.
  if (exponent >= -4 && exponent < 6) return String(value);
  return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

const LETTER = /^\p{L}$/u;
const DIGIT = /^\p{Nd}$/u;

function runOfDigits(chars: readonly string[], from: number, start: bigint): { readonly end: number; readonly value: bigint } {
  let value = start;
  let end = from;
  for (; end < chars.length && DIGIT.test(chars[end] ?? ""); end += 1)
    value = value * 10n + BigInt((chars[end]?.codePointAt(0) ?? 48) - 48);
  return { end, value };
}

/** Keys as go-yaml v2 sorts them: letters last, digits by the number that they make. */
export function compareKeys(a: string, b: string): number {
  const as = Array.from(a);
  const bs = Array.from(b);
  for (let at = 0; at < as.length && at < bs.length; at += 1) {
    const x = as[at] ?? "";
    const y = bs[at] ?? "";
    if (x === y) continue;
    const byCode = (x.codePointAt(0) ?? 0) - (y.codePointAt(0) ?? 0);
    const [xIsLetter, yIsLetter] = [LETTER.test(x), LETTER.test(y)];
    if (xIsLetter && yIsLetter) return byCode;
    if (xIsLetter || yIsLetter) return yIsLetter ? -1 : 1;
    let lead = 0n;
    if (x === "0" || y === "0")
      for (let back = at - 1; back >= 0 && DIGIT.test(as[back] ?? ""); back -= 1)
        if (as[back] !== "0") {
          lead = 1n;
          break;
        }
    const left = runOfDigits(as, at, lead);
    const right = runOfDigits(bs, at, lead);
    if (left.value !== right.value) return left.value < right.value ? -1 : 1;
    if (left.end !== right.end) return left.end - right.end;
    return byCode;
  }
  return as.length - bs.length;
}
