const UNIT_NS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  μs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** Largest value of Go's `time.Duration`, which every 0.1 program decodes durations into. */
const MAX_NS = 2 ** 63 - 1024;

/**
 * Reads a duration as Go's `time.ParseDuration` does ("1h30m", "300ms", "-1.5h", "0"); answers nanoseconds, or undefined when the
 * text is not a duration or does not fit Go's int64. Source: https://pkg.go.dev/time#ParseDuration
 */
export function parseGoDuration(text: string): number | undefined {
  const signed = /^([+-]?)(.+)$/s.exec(text);
  if (signed === null) return undefined;
  const body = signed[2] ?? "";
  if (body === "0") return 0;
  let totalNs = 0;
  let at = 0;
  // One way only to read a number: with two, a long row of digits would be tried at every place in it.
  const part = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
  while (at < body.length) {
    part.lastIndex = at;
    const match = part.exec(body);
    if (match === null) return undefined;
    totalNs += Number(match[1]) * (UNIT_NS[match[2] ?? ""] ?? Number.NaN);
    at = part.lastIndex;
  }
  if (!(totalNs <= MAX_NS)) return undefined;
  const ns = Math.trunc(totalNs);
  return signed[1] === "-" ? -ns : ns;
}

/** Writes milliseconds as a short Go duration: 90_000 is "1m30s", 1500 is "1.5s", 250 is "250ms". */
export function formatDurationMs(ms: number): string {
  if (ms < 0) return `-${formatDurationMs(-ms)}`;
  if (ms < 1) return ms === 0 ? "0s" : `${Math.round(ms * 1000)}µs`;
  if (ms < 1000) return `${Math.round(ms)}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = Math.round((ms % 60_000) / 100) / 10;
  if (seconds === 60) return formatDurationMs(Math.ceil(ms / 60_000) * 60_000);
  const parts = [hours > 0 ? `${hours}h` : "", minutes > 0 ? `${minutes}m` : "", seconds > 0 ? `${seconds}s` : ""];
  return parts.join("") || "0s";
}

export const NS_PER_MS = 1_000_000;
