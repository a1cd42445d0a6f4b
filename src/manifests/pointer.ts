/** What a JSON pointer names, from the root: keys, and indices as they are written. Source: RFC 6901 */
export type PointerPath = readonly string[];

const POINTER = /^(?:\/(?:[^~/]|~[01])*)+$/;
/** Which object it is cannot be left to others. */
const IDENTITY = /^\/(?:apiVersion|kind|metadata(?:\/(?:name|namespace))?)$/;

/** Why a text does not point to a field that can be left to others, going on from it; undefined when it does. */
export function pointerProblem(pointer: string): string | undefined {
  if (!POINTER.test(pointer)) return "is not a JSON pointer";
  if (IDENTITY.test(pointer)) return "names which object it is";
  return undefined;
}

/** The keys of a pointer that has no problem. */
export function parsePointer(pointer: string): PointerPath {
  return pointer
    .split("/")
    .slice(1)
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** The index that a token names in a list of that length; undefined where it names none. */
export function indexOf(token: string, length: number): number | undefined {
  if (!/^(?:0|[1-9]\d{0,8})$/.test(token)) return undefined;
  const index = Number(token);
  return index < length ? index : undefined;
}

/** A pointer to that path. */
export function formatPointer(path: PointerPath): string {
  return path.map((key) => `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}
