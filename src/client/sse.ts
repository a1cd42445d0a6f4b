export interface SseMessage {
  readonly event: string;
  readonly data: string;
  /** The last id the stream has given so far; "" before the first. */
  readonly id: string;
}

const MAX_MESSAGE_CHARS = 16 * 1024 * 1024;

/**
 * Takes a server-sent-event stream apart, whatever way its text was cut into pieces. A piece may answer several messages or none.
 * Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export class SseParser {
  #rest = "";
  #event = "";
  #data: string[] = [];
  #dataChars = 0;
  #id = "";
  #first = true;

  /** Throws RangeError when one message grows beyond what any message of ours can be. */
  push(piece: string): SseMessage[] {
    let text = this.#rest + piece;
    if (this.#first && text !== "") {
      this.#first = false;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    const out: SseMessage[] = [];
    let at = 0;
    for (;;) {
      const end = nextLineEnd(text, at);
      if (end === undefined) break;
      this.#line(text.slice(at, end.start), out);
      at = end.after;
    }
    this.#rest = text.slice(at);
    if (this.#rest.length + this.#dataChars > MAX_MESSAGE_CHARS) throw new RangeError("a message of the stream is too large");
    return out;
  }

  #line(line: string, out: SseMessage[]): void {
    if (line === "") {
      if (this.#data.length > 0)
        out.push({ event: this.#event === "" ? "message" : this.#event, data: this.#data.join("\n"), id: this.#id });
      this.#event = "";
      this.#data = [];
      this.#dataChars = 0;
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "event") this.#event = value;
    else if (field === "data") {
      this.#data.push(value);
      this.#dataChars += value.length;
    } else if (field === "id" && !value.includes("\u0000")) this.#id = value;
  }
}

function nextLineEnd(text: string, from: number): { readonly start: number; readonly after: number } | undefined {
  for (let at = from; at < text.length; at++) {
    const char = text[at];
    if (char === "\n") return { start: at, after: at + 1 };
    if (char !== "\r") continue;
    // A CR at the very end may be the first half of CRLF: wait for what follows.
    if (at + 1 === text.length) return undefined;
    return { start: at, after: text[at + 1] === "\n" ? at + 2 : at + 1 };
  }
  return undefined;
}
