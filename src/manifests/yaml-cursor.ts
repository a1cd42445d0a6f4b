import type { FaultAt } from "./place.ts";

/** The character codes that mean something to YAML. */
export const CODE = {
  end: 0,
  tab: 9,
  lf: 10,
  cr: 13,
  space: 32,
  bang: 33,
  doubleQuote: 34,
  hash: 35,
  percent: 37,
  ampersand: 38,
  singleQuote: 39,
  asterisk: 42,
  plus: 43,
  comma: 44,
  dash: 45,
  dot: 46,
  zero: 48,
  nine: 57,
  colon: 58,
  less: 60,
  greater: 62,
  question: 63,
  at: 64,
  openBracket: 91,
  backslash: 92,
  closeBracket: 93,
  backtick: 96,
  openBrace: 123,
  pipe: 124,
  closeBrace: 125,
  nel: 0x85,
  ls: 0x2028,
  ps: 0x2029,
} as const;

/** Space or tab. */
export function isBlank(code: number): boolean {
  return code === CODE.space || code === CODE.tab;
}

/** YAML 1.1 breaks lines at NEL, LS and PS too. */
export function isBreak(code: number): boolean {
  return code === CODE.lf || code === CODE.cr || (code > 127 && (code === CODE.nel || code === CODE.ls || code === CODE.ps));
}

/** A blank, a break or the end. Other control characters never get here, so the first comparison settles nearly every call. */
export function isBlankOrEnd(code: number): boolean {
  return code <= CODE.space || (code > 127 && (code === CODE.nel || code === CODE.ls || code === CODE.ps));
}

export function isBreakOrEnd(code: number): boolean {
  return code === CODE.end || isBreak(code);
}

export function isDigit(code: number): boolean {
  return code >= CODE.zero && code <= CODE.nine;
}

/** What anchors and tag handles are made of: letters, digits, `_` and `-`. */
export function isWord(code: number): boolean {
  return isDigit(code) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122) || code === 95 || code === CODE.dash;
}

/** A position in the text of one document. The text ends with NUL, which occurs nowhere else, so that reading ahead needs no bounds. */
export class YamlCursor {
  readonly text: string;
  readonly fault: FaultAt;
  pos = 0;
  line = 0;
  lineStart = 0;
  /** With line feeds only, the end of a line can be searched for instead of walked to. */
  readonly #lineFeedsOnly: boolean;

  constructor(text: string, fault: FaultAt) {
    this.text = `${text}\0`;
    this.fault = fault;
    this.#lineFeedsOnly = !/[\r\u0085\u2028\u2029]/.test(text);
  }

  get column(): number {
    return this.pos - this.lineStart;
  }

  code(ahead = 0): number {
    return this.text.charCodeAt(this.pos + ahead);
  }

  /** Goes over the line break here and returns what it stands for in a scalar; "" when there is none. */
  takeBreak(): string {
    const code = this.code();
    if (!isBreak(code)) return "";
    this.pos += code === CODE.cr && this.code(1) === CODE.lf ? 2 : 1;
    this.line += 1;
    this.lineStart = this.pos;
    return code === CODE.ls || code === CODE.ps ? String.fromCharCode(code) : "\n";
  }

  /** The offset of the break or end that ends this line. */
  lineEnd(): number {
    if (this.#lineFeedsOnly) {
      const found = this.text.indexOf("\n", this.pos);
      return found === -1 ? this.text.length - 1 : found;
    }
    let end = this.pos;
    while (!isBreakOrEnd(this.text.charCodeAt(end))) end += 1;
    return end;
  }

  skipBlanks(): void {
    while (isBlank(this.code())) this.pos += 1;
  }

  /** True at `...` in the first column, the mark that ends a document. */
  atDocumentEnd(): boolean {
    return (
      this.pos === this.lineStart &&
      this.code() === CODE.dot &&
      this.code(1) === CODE.dot &&
      this.code(2) === CODE.dot &&
      isBlankOrEnd(this.code(3))
    );
  }
}
