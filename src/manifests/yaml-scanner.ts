import { CODE, isBlank, isBlankOrEnd, isWord, type YamlCursor } from "./yaml-cursor.ts";
import { scanBlock, scanPlain, scanQuoted } from "./yaml-scalars.ts";
import { scanTag } from "./yaml-tags.ts";
import type { Token, TokenType } from "./yaml-tokens.ts";

/** Where a key without `?` may have begun. It is known to be one only when its `:` comes, so the token before is held back until then. */
interface SimpleKey {
  possible: boolean;
  /** Nothing but a key can stand here. */
  required: boolean;
  tokenNumber: number;
  at: number;
  line: number;
  column: number;
}

/** A key without `?` stands on one line and within this many characters. */
const SIMPLE_KEY_CHARS = 1024;

/**
 * Cuts one YAML 1.1 document into tokens, in the way of libyaml's scanner (https://github.com/yaml/libyaml, MIT), because kubectl reads
 * with its Go port: what counts as a key, a comment, an indentation or a multi-line scalar is the same here to the character.
 */
export class YamlScanner {
  readonly #cursor: YamlCursor;
  readonly #maxDepth: number;
  readonly #queue: Token[] = [];
  #queueHead = 0;
  /** How many tokens the parser has taken. */
  #taken = 0;
  #indent = -1;
  readonly #indents: number[] = [];
  #flowLevel = 0;
  #keyAllowed = true;
  readonly #simpleKeys: SimpleKey[] = [{ possible: false, required: false, tokenNumber: 0, at: 0, line: 0, column: 0 }];

  constructor(cursor: YamlCursor, maxDepth: number) {
    this.#cursor = cursor;
    this.#maxDepth = maxDepth;
  }

  /** The next token, without taking it. */
  peek(): Token {
    while (this.#queueHead === this.#queue.length || this.#headMayBecomeKey()) this.#fetch();
    const token = this.#queue[this.#queueHead];
    if (token === undefined) throw this.#cursor.fault(this.#cursor.pos, "the document ends too early");
    return token;
  }

  /** Takes the token that `peek` showed. */
  next(): Token {
    const token = this.peek();
    this.#queueHead += 1;
    this.#taken += 1;
    if (this.#queueHead === this.#queue.length) this.#queue.length = this.#queueHead = 0;
    return token;
  }

  #push(type: TokenType, at: number, text = "", plain = false): void {
    this.#queue.push({ type, at, text, plain });
  }

  /** Puts a token before the one with this number, which is still in the queue. */
  #insert(tokenNumber: number, type: TokenType, at: number): void {
    this.#queue.splice(this.#queueHead + tokenNumber - this.#taken, 0, { type, at, text: "", plain: false });
  }

  #topKey(): SimpleKey {
    const key = this.#simpleKeys[this.#flowLevel];
    if (key === undefined) throw this.#cursor.fault(this.#cursor.pos, "a bracket is closed that was never opened");
    return key;
  }

  #headMayBecomeKey(): boolean {
    for (const key of this.#simpleKeys) if (key.possible && key.tokenNumber === this.#taken) return this.#isStillPossible(key);
    return false;
  }

  #isStillPossible(key: SimpleKey): boolean {
    if (!key.possible) return false;
    if (key.line === this.#cursor.line && key.at + SIMPLE_KEY_CHARS >= this.#cursor.pos) return true;
    if (key.required) throw this.#missingColon(key);
    key.possible = false;
    return false;
  }

  #missingColon(key: SimpleKey): Error {
    return this.#cursor.fault(key.at, "a key is expected here, and no ':' follows it on its line");
  }

  #saveKey(): void {
    if (!this.#keyAllowed) return;
    this.#dropKey();
    const cursor = this.#cursor;
    const key = this.#topKey();
    key.possible = true;
    key.required = this.#flowLevel === 0 && this.#indent === cursor.column;
    key.tokenNumber = this.#taken + this.#queue.length - this.#queueHead;
    key.at = cursor.pos;
    key.line = cursor.line;
    key.column = cursor.column;
  }

  #dropKey(): void {
    const key = this.#topKey();
    if (key.possible && key.required) throw this.#missingColon(key);
    key.possible = false;
  }

  /** Opens a block collection when `column` is further in than the present one. */
  #openBlock(column: number, type: TokenType, at: number, before?: number): void {
    if (this.#flowLevel > 0 || this.#indent >= column) return;
    this.#indents.push(this.#indent);
    this.#indent = column;
    if (before === undefined) this.#push(type, at);
    else this.#insert(before, type, at);
  }

  #closeBlocks(column: number): void {
    if (this.#flowLevel > 0) return;
    while (this.#indent > column) {
      this.#push("block-end", this.#cursor.pos);
      this.#indent = this.#indents.pop() ?? -1;
    }
  }

  #skipToToken(): void {
    const cursor = this.#cursor;
    for (;;) {
      // A tab may separate, but where a key can start it would be indentation.
      for (let code = cursor.code(); code === CODE.space || (code === CODE.tab && (this.#flowLevel > 0 || !this.#keyAllowed));)
        code = cursor.text.charCodeAt(++cursor.pos);
      if (cursor.code() === CODE.hash) cursor.pos = cursor.lineEnd();
      if (cursor.takeBreak() === "") return;
      if (this.#flowLevel === 0) this.#keyAllowed = true;
    }
  }

  #fetch(): void {
    const cursor = this.#cursor;
    this.#skipToToken();
    this.#closeBlocks(cursor.column);
    const at = cursor.pos;
    const code = cursor.code();
    if (code === CODE.end) {
      this.#closeBlocks(-1);
      this.#dropKey();
      this.#keyAllowed = false;
      this.#push("stream-end", at);
      return;
    }
    if (cursor.column === 0 && code === CODE.percent)
      throw cursor.fault(at, "directives are not understood, as kubectl does not understand them", "Remove the line.");
    if (cursor.atDocumentEnd()) {
      this.#closeBlocks(-1);
      this.#dropKey();
      this.#keyAllowed = false;
      this.#take("document-end", 3);
      return;
    }
    if (!this.#fetchIndicator(code)) this.#fetchScalar(code);
  }

  #take(type: TokenType, length: number): void {
    this.#push(type, this.#cursor.pos);
    this.#cursor.pos += length;
  }

  /** Fetches what is not a scalar; false when there is a scalar or nothing that can be. */
  #fetchIndicator(code: number): boolean {
    const next = this.#cursor.code(1);
    switch (code) {
      case CODE.openBracket:
        this.#openFlow("flow-sequence-start");
        return true;
      case CODE.openBrace:
        this.#openFlow("flow-mapping-start");
        return true;
      case CODE.closeBracket:
        this.#closeFlow("flow-sequence-end");
        return true;
      case CODE.closeBrace:
        this.#closeFlow("flow-mapping-end");
        return true;
      case CODE.comma:
        this.#dropKey();
        this.#keyAllowed = true;
        this.#take("flow-entry", 1);
        return true;
      case CODE.dash:
        if (!isBlankOrEnd(next)) return false;
        this.#fetchEntry();
        return true;
      case CODE.question:
        if (this.#flowLevel === 0 && !isBlankOrEnd(next)) return false;
        this.#fetchKey();
        return true;
      case CODE.colon:
        if (this.#flowLevel === 0 && !isBlankOrEnd(next)) return false;
        this.#fetchValue();
        return true;
      case CODE.asterisk:
        this.#fetchAnchor("alias");
        return true;
      case CODE.ampersand:
        this.#fetchAnchor("anchor");
        return true;
      case CODE.bang: {
        const at = this.#cursor.pos;
        this.#saveKey();
        this.#keyAllowed = false;
        this.#push("tag", at, scanTag(this.#cursor));
        return true;
      }
      default:
        return false;
    }
  }

  #openFlow(type: TokenType): void {
    const cursor = this.#cursor;
    this.#saveKey();
    this.#flowLevel += 1;
    if (this.#flowLevel > this.#maxDepth) throw cursor.fault(cursor.pos, `nested deeper than ${this.#maxDepth} levels`);
    this.#simpleKeys.push({ possible: false, required: false, tokenNumber: 0, at: 0, line: 0, column: 0 });
    this.#keyAllowed = true;
    this.#take(type, 1);
  }

  #closeFlow(type: TokenType): void {
    this.#dropKey();
    if (this.#flowLevel > 0) {
      this.#flowLevel -= 1;
      this.#simpleKeys.pop();
    }
    this.#keyAllowed = false;
    this.#take(type, 1);
  }

  #fetchEntry(): void {
    const cursor = this.#cursor;
    if (this.#flowLevel === 0) {
      if (!this.#keyAllowed) throw cursor.fault(cursor.pos, "a list entry cannot start here");
      this.#openBlock(cursor.column, "block-sequence-start", cursor.pos);
    }
    this.#dropKey();
    this.#keyAllowed = true;
    this.#take("block-entry", 1);
  }

  #fetchKey(): void {
    const cursor = this.#cursor;
    if (this.#flowLevel === 0) {
      if (!this.#keyAllowed) throw cursor.fault(cursor.pos, "a key cannot start here");
      this.#openBlock(cursor.column, "block-mapping-start", cursor.pos);
    }
    this.#dropKey();
    this.#keyAllowed = this.#flowLevel === 0;
    this.#take("key", 1);
  }

  #fetchValue(): void {
    const cursor = this.#cursor;
    const key = this.#topKey();
    if (this.#isStillPossible(key)) {
      this.#insert(key.tokenNumber, "key", key.at);
      this.#openBlock(key.column, "block-mapping-start", key.at, key.tokenNumber);
      key.possible = false;
      this.#keyAllowed = false;
    } else {
      if (this.#flowLevel === 0) {
        if (!this.#keyAllowed)
          throw cursor.fault(cursor.pos, "a value cannot start here", "Quote a text that holds ': ', and check the indentation.");
        this.#openBlock(cursor.column, "block-mapping-start", cursor.pos);
      }
      this.#keyAllowed = this.#flowLevel === 0;
    }
    this.#take("value", 1);
  }

  #fetchAnchor(type: "alias" | "anchor"): void {
    const cursor = this.#cursor;
    const at = cursor.pos;
    this.#saveKey();
    this.#keyAllowed = false;
    cursor.pos += 1;
    while (isWord(cursor.code())) cursor.pos += 1;
    const name = cursor.text.slice(at + 1, cursor.pos);
    const code = cursor.code();
    if (name === "" || !(isBlankOrEnd(code) || "?:,]}%@`".includes(String.fromCharCode(code))))
      throw cursor.fault(at, `an ${type} needs a name of letters, digits, - and _`, "Quote a text that starts with * or &.");
    this.#push(type, at, name);
  }

  #fetchScalar(code: number): void {
    const cursor = this.#cursor;
    const at = cursor.pos;
    if (this.#flowLevel === 0 && (code === CODE.pipe || code === CODE.greater)) {
      this.#dropKey();
      this.#keyAllowed = true;
      this.#push("scalar", at, scanBlock(cursor, code === CODE.pipe, this.#indent));
      return;
    }
    if (code === CODE.singleQuote || code === CODE.doubleQuote) {
      this.#saveKey();
      this.#keyAllowed = false;
      this.#push("scalar", at, scanQuoted(cursor, code));
      return;
    }
    if (!this.#startsPlain(code)) throw this.#cannotStart(code);
    this.#saveKey();
    this.#keyAllowed = false;
    const { value, endsLine } = scanPlain(cursor, this.#indent + 1, this.#flowLevel > 0);
    if (endsLine) this.#keyAllowed = true;
    this.#push("scalar", at, value, true);
  }

  #startsPlain(code: number): boolean {
    switch (code) {
      case CODE.dash:
        return !isBlank(this.#cursor.code(1));
      case CODE.question:
      case CODE.colon:
        return this.#flowLevel === 0;
      case CODE.tab:
      case CODE.hash:
      case CODE.pipe:
      case CODE.greater:
      case CODE.percent:
      case CODE.at:
      case CODE.backtick:
        return false;
      default:
        return true;
    }
  }

  #cannotStart(code: number): Error {
    const cursor = this.#cursor;
    if (code === CODE.tab) return cursor.fault(cursor.pos, "a tab cannot indent", "Indent with spaces only.");
    return cursor.fault(cursor.pos, `'${String.fromCharCode(code)}' cannot start a value`, "Quote the text.");
  }
}
