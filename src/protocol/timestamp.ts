// RFC 3339 as Go reads it: up to nine fractional digits, `Z` or an offset, capital letters, no leap second: a 0.1 agent refuses the
// rest. `Date.parse` alone would take much more.
const RFC3339 = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?(Z|[+-]\d{2}:\d{2})$/;

/**
 * Reads an RFC 3339 timestamp; answers milliseconds since the epoch (the fraction below a millisecond is cut off), or undefined
 * where the text is not one or names a day or hour that does not exist.
 */
export function parseTimestampMs(text: string): number | undefined {
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
