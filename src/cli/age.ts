import { parseTimestampMs } from "../protocol/mod.ts";

/** How long ago, as kubectl shows ages: `5s`, `4m30s`, `3h`, `12d`. */
export function age(timestamp: string | undefined, nowMs: number): string {
  const thenMs = timestamp === undefined ? undefined : parseTimestampMs(timestamp);
  if (thenMs === undefined) return "";
  const seconds = Math.max(0, Math.floor((nowMs - thenMs) / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours}h`;
  return `${Math.floor(hours / 24)}d`;
}
