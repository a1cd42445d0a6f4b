// Control characters move a terminal's cursor, repaint its past and can type on one's behalf; the bidirectional ones show text in
// another order than it is. Ids and messages come from strangers.
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;

function escaped(char: string): string {
  const code = char.charCodeAt(0);
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
}

/** Text that is safe to show; line ends and tabs stay. */
export function safeText(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(UNSAFE, escaped);
}

/** The same on one line: line ends become blanks. */
export function safeLine(text: string): string {
  // No pattern with blanks on both sides of the line end: it would look at a long row of blanks again from each of them.
  const lines = safeText(text.trimEnd()).split("\n");
  return lines
    .map((line, at) => (at === 0 ? line.trimEnd() : line.trim()))
    .filter((line, at) => at === 0 || line !== "")
    .join(" ")
    .replaceAll("\t", " ");
}

/** Serialised data with what is unsafe in it written as \uXXXX, which JSON and double-quoted YAML read back as the same. */
export function escapeUnsafe(serialised: string): string {
  return serialised.replace(UNSAFE, (char) => (char === "\n" ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`));
}

export function hasUnsafe(text: string): boolean {
  return text.search(UNSAFE) >= 0;
}

/** Columns a text takes on a terminal. */
export function displayWidth(text: string): number {
  return Bun.stringWidth(text);
}

/** At most so many columns; what is cut ends in an ellipsis. */
export function clip(text: string, columns: number): string {
  if (displayWidth(text) <= columns) return text;
  let out = "";
  let width = 0;
  for (const char of text) {
    const next = displayWidth(char);
    if (width + next > columns - 1) break;
    out += char;
    width += next;
  }
  return `${out}…`;
}

export type Paint = (style: keyof typeof STYLES, text: string) => string;
const STYLES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;

export function painter(color: boolean): Paint {
  return (style, text) => (color ? `\u001b[${STYLES[style]}m${text}\u001b[0m` : text);
}
