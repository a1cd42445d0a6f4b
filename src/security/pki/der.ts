/** One element of DER: its tag, and where its header begins, its content begins and it ends. */
export interface Element {
  readonly tag: number;
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

/** What is not DER, or not what should stand there. */
export class DerFault extends Error {
  override readonly name = "DerFault";
}

/** Reads the element at `at`; it must end by `end`. Only what certificates use: one-byte tags and definite lengths in their shortest form. */
export function elementAt(bytes: Uint8Array, at: number, end: number): Element {
  // What is not there counts as zeros, which end beyond `end` as well.
  const [tag = 0, first = 0] = bytes.subarray(at, at + 2);
  if ((tag & 0x1f) === 0x1f) throw new DerFault("a tag has several bytes");
  let from = at + 2;
  let length = first;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 4) throw new DerFault("a length has no known form");
    length = 0;
    for (let index = 0; index < count; index += 1) length = length * 256 + (bytes[from + index] ?? 0);
    if (length < 0x80 || length < 256 ** (count - 1)) throw new DerFault("a length is written longer than it has to be");
    from += count;
  }
  const to = from + length;
  if (to > end) throw new DerFault("it is cut off");
  return { tag, start: at, from, to };
}

/** The elements within `parent`, in order. */
export function childrenOf(bytes: Uint8Array, parent: Element): readonly Element[] {
  const found: Element[] = [];
  let at = parent.from;
  while (at < parent.to) {
    const element = elementAt(bytes, at, parent.to);
    found.push(element);
    at = element.to;
  }
  return found;
}

/** The one element that the bytes are, and nothing behind it. */
export function wholeElement(bytes: Uint8Array, tag: number): Element {
  const element = elementAt(bytes, 0, bytes.length);
  if (element.to !== bytes.length) throw new DerFault("something stands behind its end");
  return expectTag(element, tag);
}

export function expectTag(element: Element | undefined, tag: number): Element {
  if (element?.tag !== tag) throw new DerFault(`an element of tag ${tag} is missing`);
  return element;
}

/** An object identifier with its dots. */
export function oidText(bytes: Uint8Array, element: Element): string {
  expectTag(element, TAG.oid);
  const parts: number[] = [];
  let value = 0;
  for (let at = element.from; at < element.to; at += 1) {
    const byte = bytes[at] ?? 0;
    value = value * 128 + (byte & 0x7f);
    if (value > Number.MAX_SAFE_INTEGER / 128) throw new DerFault("an object identifier is too long");
    if (byte >= 0x80) continue;
    if (parts.length === 0) parts.push(Math.min(2, Math.floor(value / 40)), value - 40 * Math.min(2, Math.floor(value / 40)));
    else parts.push(value);
    value = 0;
  }
  return parts.join(".");
}

/** A number as lower-case hex without leading zeros, the way serial numbers are compared. */
export function integerHex(bytes: Uint8Array, element: Element): string {
  expectTag(element, TAG.integer);
  return serialText(Buffer.from(bytes.subarray(element.from, element.to)).toString("hex"));
}

export function serialText(hex: string): string {
  const text = hex.toLowerCase();
  let zeros = 0;
  while (zeros < text.length - 1 && text[zeros] === "0") zeros += 1;
  return text.slice(zeros);
}

/** UTCTime or GeneralizedTime in the one form that certificates may have, in ms since the epoch. */
export function timeMs(bytes: Uint8Array, element: Element): number {
  const text = Buffer.from(bytes.subarray(element.from, element.to)).toString("latin1");
  const utc = element.tag === TAG.utcTime;
  if (!utc && element.tag !== TAG.generalizedTime) throw new DerFault("a time is missing");
  if (!(utc ? /^\d{12}Z$/ : /^\d{14}Z$/).test(text)) throw new DerFault("a time has no known form");
  // RFC 5280: two digits from 50 on are of the last century.
  const full = utc ? `${Number(text.slice(0, 2)) >= 50 ? "19" : "20"}${text}` : text;
  const part = (from: number, to: number): number => Number(full.slice(from, to));
  return Date.UTC(part(0, 4), part(4, 6) - 1, part(6, 8), part(8, 10), part(10, 12), part(12, 14));
}

/** What is signed is a SEQUENCE of what is signed over, the algorithm and the signature: certificates, requests and revocation lists alike. */
export interface SignedParts {
  readonly body: Element;
  readonly bodyBytes: Uint8Array;
  readonly algorithm: string;
  readonly signature: Uint8Array;
}

export function signedParts(bytes: Uint8Array): SignedParts {
  const [first, algorithm, signature, ...more] = childrenOf(bytes, wholeElement(bytes, TAG.sequence));
  if (more.length > 0) throw new DerFault("something stands behind the signature");
  const body = expectTag(first, TAG.sequence);
  const [oid] = childrenOf(bytes, expectTag(algorithm, TAG.sequence));
  const bits = expectTag(signature, TAG.bitString);
  if (bytes[bits.from] !== 0) throw new DerFault("the signature has no known form");
  return {
    body,
    bodyBytes: bytes.subarray(body.start, body.to),
    algorithm: oidText(bytes, expectTag(oid, TAG.oid)),
    signature: bytes.subarray(bits.from + 1, bits.to),
  };
}

/** Writes one element. */
export function encode(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(contents);
  const { length } = content;
  let header = [tag, length];
  if (length >= 0x80) {
    const digits: number[] = [];
    for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
    header = [tag, 0x80 + digits.length, ...digits];
  }
  return Buffer.concat([Uint8Array.from(header), content]);
}
