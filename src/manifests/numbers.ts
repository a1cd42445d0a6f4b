const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;
const UINT64_MAX = 2n ** 64n - 1n;

/** A whole number as kubectl keeps it: a number while that is exact, a bigint to the ends of int64, and a float beyond them. */
export function fromInteger(value: number | bigint): number | bigint {
  if (typeof value === "number") return value;
  if (value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value);
  return value >= INT64_MIN && value <= INT64_MAX ? value : Number(value);
}

/** A float as kubectl keeps it after its way through JSON: -0 is 0, and what JSON writes as a whole number is one. */
export function fromFloat(value: number): number | bigint {
  if (value === 0) return 0;
  if (Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  const text = String(value);
  return text.includes("e") ? value : fromInteger(BigInt(text));
}

/** go-yaml tries the digits after 0b on their own, sign and all. */
const SIGNED_BINARY = /^0b([+-])([01]+)$/;
const INTEGER = /^([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]([0-7]+)|0[bB]([01]+)|(0[0-7]*)|([1-9][0-9]*))$/;

/** Go's ParseInt and ParseUint with base 0, underscores taken out before: 0x, 0o, 0b, and octal after a leading 0. Undefined: not one of 64 bits. */
export function parseGoInteger(text: string): bigint | undefined {
  const match = INTEGER.exec(text);
  if (match === null) {
    const [, binarySign, bits] = SIGNED_BINARY.exec(text) ?? [];
    return bits === undefined ? undefined : withSign(binarySign, BigInt(`0b${bits}`));
  }
  const [, sign, hex, octal, binary, oldOctal, decimal] = match;
  let digits = decimal ?? "0";
  if (hex !== undefined) digits = `0x${hex}`;
  else if (octal !== undefined || (oldOctal !== undefined && oldOctal.length > 1)) digits = `0o${octal ?? oldOctal}`;
  else if (binary !== undefined) digits = `0b${binary}`;
  return withSign(sign, BigInt(digits));
}

function withSign(sign: string | undefined, magnitude: bigint): bigint | undefined {
  if (sign === "-") return -magnitude >= INT64_MIN ? -magnitude : undefined;
  // ParseUint knows no sign, so +18446744073709551615 is not an integer.
  return magnitude <= (sign === "+" ? INT64_MAX : UINT64_MAX) ? magnitude : undefined;
}

/** True for what only fits an unsigned 64-bit integer; kubectl refuses it as a key. */
export function needsUnsigned(value: number | bigint): boolean {
  return value > INT64_MAX;
}

/** Go's FormatFloat(value, 'g', -1, 32), the text that kubectl makes of a key like 1.5: the shortest that gives back the same float32. */
export function goFloat32Text(value: number): string {
  const single = Math.fround(value);
  if (Number.isNaN(single)) return ".nan";
  if (!Number.isFinite(single)) return single > 0 ? ".inf" : "-.inf";
  if (single === 0) return Object.is(single, -0) ? "-0" : "0";
  let scientific = single.toExponential(8);
  for (let digits = 0; digits < 8; digits += 1) {
    const shorter = single.toExponential(digits);
    if (Math.fround(Number(shorter)) === single) {
      scientific = shorter;
      break;
    }
  }
  const [mantissa = "", exponentText = "0"] = scientific.split("e");
  const exponent = Number(exponentText);
  if (exponent >= -4 && exponent < 6) return String(Number(scientific));
  return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
}
