import { fromFloat, fromInteger, goFloat32Text, needsUnsigned, parseGoInteger } from "./numbers.ts";
import { TAG_PREFIX } from "./yaml-nodes.ts";

/** What a scalar means before it becomes JSON. A float keeps its kind, because as a key 1.0 and 1 are written differently. */
export type Scalar =
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "null" }
  | { readonly type: "merge" }
  | { readonly type: "int"; readonly value: number | bigint }
  | { readonly type: "float"; readonly value: number };

const NULL: Scalar = { type: "null" };
const TRUE: Scalar = { type: "bool", value: true };
const FALSE: Scalar = { type: "bool", value: false };
const MERGE: Scalar = { type: "merge" };

function float(value: number): Scalar {
  return { type: "float", value };
}

/** The words of YAML 1.1 as go-yaml v2 has them: only these spellings. */
const WORDS: ReadonlyMap<string, Scalar> = new Map<string, Scalar>([
  ...["", "~", "null", "Null", "NULL"].map((word) => [word, NULL] as const),
  ...["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"].map((word) => [word, TRUE] as const),
  ...["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"].map((word) => [word, FALSE] as const),
  ...[".nan", ".NaN", ".NAN"].map((word) => [word, float(Number.NaN)] as const),
  ...[".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"].map((word) => [word, float(Number.POSITIVE_INFINITY)] as const),
  ...["-.inf", "-.Inf", "-.INF"].map((word) => [word, float(Number.NEGATIVE_INFINITY)] as const),
]);

const LONGEST_WORD = "false".length;

/** 1 for what can begin a word or a number: most texts are told from both by their first character. */
const CAN_BEGIN = new Uint8Array(128);
for (const char of "+-.0123456789yYnNtTfFoO~") CAN_BEGIN[char.charCodeAt(0)] = 1;

const FLOAT = /^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$/;
/** With a point first, underscores may stand between digits only; elsewhere they are taken out before. */
const POINT_FLOAT = /^\.[0-9]+(?:_[0-9]+)*(?:[eE][-+]?[0-9]+(?:_[0-9]+)*)?$/;
const TIMESTAMP =
  /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt](\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?(?:Z|[-+]\d\d:\d\d)| (\d{1,2}):(\d{1,2}):(\d{1,2})(?:[.,]\d+)?)?$/;

/** Whether YAML 1.1 takes a plain text for a time. */
export function isTimestamp(text: string): boolean {
  const match = TIMESTAMP.exec(text);
  if (match === null) return false;
  const [year = 0, month = 0, day = 0] = match.slice(1, 4).map(Number);
  const [hour = 0, minute = 0, second = 0] = match.slice(4, 7).map((part, index) => Number(part ?? match[7 + index] ?? 0));
  const daysInMonth = new Date(Date.UTC(2000 + (year % 400), month, 0)).getUTCDate();
  return month >= 1 && month <= 12 && day >= 1 && day <= daysInMonth && hour < 24 && minute < 60 && second < 60;
}

/** Longer digits are a text: reading them as a number takes quadratic time, and what fits 64 bits is shorter. */
const NUMBER_CHARS = 1024;

/** The usual ones, exact as a number. */
const SMALL_INTEGER = /^(?:0|[1-9][0-9]{0,14})$/;

/** A finite float of this text; a number beyond the range of floats is none, and so stays a string. */
function finite(text: string): Scalar | undefined {
  const value = Number(text.replaceAll("_", ""));
  return Number.isFinite(value) ? float(value) : undefined;
}

function numberOf(text: string): Scalar | undefined {
  if (SMALL_INTEGER.test(text)) return { type: "int", value: Number(text) };
  if (text.length > NUMBER_CHARS) return undefined;
  const plain = text.includes("_") ? text.replaceAll("_", "") : text;
  const integer = parseGoInteger(plain);
  if (integer !== undefined) return { type: "int", value: integer };
  return FLOAT.test(plain) ? finite(plain) : undefined;
}

/** What a plain scalar means by its text, as go-yaml v2's resolve() has it; undefined: it is a string. */
function resolveText(text: string): Scalar | undefined {
  const first = text === "" ? 0 : text.charCodeAt(0);
  if (first !== 0 && (first > 127 || CAN_BEGIN[first] === 0)) return undefined;
  const word = text.length <= LONGEST_WORD ? WORDS.get(text) : undefined;
  if (word !== undefined) return word;
  if (first === 0x2e) return POINT_FLOAT.test(text) ? finite(text) : undefined;
  return first === 0x2b || first === 0x2d || (first >= 0x30 && first <= 0x39) ? numberOf(text) : undefined;
}

/** The meaning of a plain scalar without a tag. A timestamp stays the text it is. */
export function resolvePlain(text: string): Scalar {
  return resolveText(text) ?? { type: "string", value: text };
}

/** Why a tag and its text do not go together. */
export interface TagFault {
  readonly type: "fault";
  readonly message: string;
}

const TYPE_OF_TAG: ReadonlyMap<string, Scalar["type"]> = new Map([
  [`${TAG_PREFIX}bool`, "bool"],
  [`${TAG_PREFIX}int`, "int"],
  [`${TAG_PREFIX}float`, "float"],
  [`${TAG_PREFIX}null`, "null"],
]);

function decodeBinary(text: string): Scalar | TagFault {
  const base64 = text.replaceAll(/[\r\n]/g, "");
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(base64))
    return { type: "fault", message: "!!binary needs base64" };
  try {
    const bytes = Uint8Array.fromBase64(base64);
    return { type: "string", value: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { type: "fault", message: "the bytes of !!binary are not UTF-8 text, which is all that an object can hold" };
  }
}

/** The meaning of a scalar with a tag. Tags that say nothing about the type (`!`, `!x`) make a string, as for kubectl. */
export function resolveTagged(tag: string, text: string): Scalar | TagFault {
  if (tag === `${TAG_PREFIX}binary`) return decodeBinary(text);
  if (tag === `${TAG_PREFIX}merge`) return text === "<<" ? MERGE : { type: "string", value: text };
  if (tag === `${TAG_PREFIX}timestamp`)
    return isTimestamp(text) ? { type: "string", value: text } : { type: "fault", message: `${JSON.stringify(text)} is not a timestamp` };
  const wanted = TYPE_OF_TAG.get(tag);
  if (wanted === undefined) return { type: "string", value: text };
  const found = resolveText(text);
  if (found?.type === wanted) return found;
  if (wanted === "float" && found?.type === "int" && !needsUnsigned(found.value)) return float(Number(found.value));
  return { type: "fault", message: `${JSON.stringify(text)} is not a ${tag.slice(TAG_PREFIX.length)}` };
}

/** The JSON value of a scalar; undefined for the one thing JSON has no value for, an infinite float or NaN. */
export function scalarValue(scalar: Scalar): string | boolean | number | bigint | null | undefined {
  switch (scalar.type) {
    case "string":
    case "bool":
      return scalar.value;
    case "null":
      return null;
    case "merge":
      return "<<";
    case "int":
      return fromInteger(scalar.value);
    case "float":
      return Number.isFinite(scalar.value) ? fromFloat(scalar.value) : undefined;
  }
}

/** The key that kubectl makes of a scalar; undefined for those it refuses, null and integers beyond int64. */
export function scalarKey(scalar: Scalar): string | undefined {
  switch (scalar.type) {
    case "string":
      return scalar.value;
    case "bool":
      return String(scalar.value);
    case "int":
      return needsUnsigned(scalar.value) ? undefined : scalar.value.toString();
    case "float":
      return goFloat32Text(scalar.value);
    case "null":
      return undefined;
    case "merge":
      return "<<";
  }
}
