// RFC 3339 as Go reads it: up to nine fractional digits, `Z` or an offset, capital letters, no leap second: a 0.1 agent refuses the
// rest. `Date.parse` alone would take much more.
const RFC3339 = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})$/;

function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let at = from; at < to; at += 1) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

/** The form that nearly everybody writes, 2026-02-10T10:00:00.000Z, with or without its fraction; undefined for every other. */
function usualMs(text: string): number | undefined {
  const fraction = text.length === 24 ? digits(text, 20, 23) : text.length === 20 ? 0 : Number.NaN;
  const day = digits(text, 8, 10);
  const rest = digits(text, 11, 13) * 3_600_000 + digits(text, 14, 16) * 60_000 + digits(text, 17, 19) * 1000 + fraction;
  if (
    Number.isNaN(rest) ||
    !text.endsWith("Z") ||
    text[4] !== "-" ||
    text[7] !== "-" ||
    text[10] !== "T" ||
    text[13] !== ":" ||
    text[16] !== ":" ||
    (text.length === 24 && text[19] !== ".") ||
    digits(text, 11, 13) > 23 ||
    digits(text, 14, 16) > 59 ||
    digits(text, 17, 19) > 59 ||
    // Days that some month lacks, and years that Date.UTC takes for others, are looked at more closely.
    !(day >= 1 && day <= 28) ||
    text[0] === "0"
  )
    return undefined;
  const month = digits(text, 5, 7);
  return month >= 1 && month <= 12 ? Date.UTC(digits(text, 0, 4), month - 1, day) + rest : undefined;
}

/**
 * Reads an RFC 3339 timestamp; answers milliseconds since the epoch (the fraction below a millisecond is cut off), or undefined
 * where the text is not one or names a day or hour that does not exist.
 */
export function parseTimestampMs(text: string): number | undefined {
  const usual = usualMs(text);
  if (usual !== undefined && !Number.isNaN(usual)) return usual;
  const match = RFC3339.exec(text);
  if (match === null) return undefined;
  const [, year, month, day, hour, minute, second, fraction = "", offset = "Z"] = match;
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return undefined;
  const utc = Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
  const date = new Date(utc);
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day)) return undefined;
  const ms = Math.floor(Number(`0.${fraction || "0"}`) * 1000);
  if (offset === "Z") return utc + ms;
  const [offsetHours = 0, offsetMinutes = 0] = offset.slice(1).split(":").map(Number);
  if (offsetHours > 23 || offsetMinutes > 59) return undefined;
  const shift = (offsetHours * 60 + offsetMinutes) * 60_000;
  return utc + ms - (offset.startsWith("-") ? -shift : shift);
}

/** Writes milliseconds since the epoch as RFC 3339 in UTC, for example 2026-02-10T10:00:00.000Z. */
export function formatTimestamp(ms: number): string {
  return new Date(ms).toISOString();
}
