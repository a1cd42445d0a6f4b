import { numberOf, parseRecord, recordOf } from "./json.ts";
import type { KubeAnswer } from "./transport.ts";

const MAX_RETRY_AFTER_MS = 30_000;

/** Milliseconds that the API server asks to wait, from the header or the Status. */
export function retryAfterMs({ headers, text }: Pick<KubeAnswer, "headers" | "text">): number | undefined {
  const header = Number(headers.get("retry-after"));
  const seconds =
    headers.has("retry-after") && Number.isFinite(header) ? header : numberOf(recordOf(parseRecord(text)["details"])["retryAfterSeconds"]);
  return seconds === undefined ? undefined : Math.min(MAX_RETRY_AFTER_MS, Math.max(0, seconds) * 1000);
}
