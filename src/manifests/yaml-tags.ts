import { CODE, isBlankOrEnd, isWord, type YamlCursor } from "./yaml-cursor.ts";

/** What `!!` stands for. */
export const TAG_PREFIX = "tag:yaml.org,2002:";

const URI = /[0-9A-Za-z_;/?:@&=+$,.!~*'()[\]%-]*/y;

function takeUri(cursor: YamlCursor, at: number, needed: boolean): string {
  URI.lastIndex = cursor.pos;
  const raw = URI.exec(cursor.text)?.[0] ?? "";
  if (raw === "" && needed) throw cursor.fault(at, "a tag needs a name");
  cursor.pos += raw.length;
  if (!raw.includes("%")) return raw;
  try {
    return decodeURIComponent(raw);
  } catch {
    throw cursor.fault(at, "the tag's %XX escapes are not UTF-8");
  }
}

/** A tag as it is written here, with its handle replaced by what it stands for; "!" for the one that says "not plain". */
export function scanTag(cursor: YamlCursor): string {
  const at = cursor.pos;
  let tag: string;
  if (cursor.code(1) === CODE.less) {
    cursor.pos += 2;
    tag = takeUri(cursor, at, true);
    if (cursor.code() !== CODE.greater) throw cursor.fault(at, "the tag is not closed with >");
    cursor.pos += 1;
  } else {
    cursor.pos += 1;
    while (isWord(cursor.code())) cursor.pos += 1;
    if (cursor.code() === CODE.bang) {
      cursor.pos += 1;
      const handle = cursor.text.slice(at, cursor.pos);
      if (handle !== "!!") throw cursor.fault(at, `the tag handle ${handle} is not defined`);
      tag = TAG_PREFIX + takeUri(cursor, at, true);
    } else {
      cursor.pos = at + 1;
      tag = `!${takeUri(cursor, at, false)}`;
    }
  }
  if (!isBlankOrEnd(cursor.code())) throw cursor.fault(at, "a tag must be followed by a space or the end of the line");
  return tag;
}
