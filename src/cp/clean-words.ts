import { isTerminal, LIMITS, type StatusUpdate } from "../protocol/mod.ts";
import { redact, redactText } from "../redaction/mod.ts";
import type { StatusWrite } from "../stores/mod.ts";

/**
 * What a status says in words, as it is kept and shown. An agent takes secrets out before it says anything; one of 0.1 does not. Results are
 * looked at where something failed: only then does a cluster say more in them than names.
 */
export function cleanWords({ state, message, result }: StatusUpdate): Pick<StatusWrite, "message" | "result"> {
  const said = isTerminal(state) ? (result ?? undefined) : undefined;
  return {
    message: redactText((message ?? "").slice(0, LIMITS.messageChars)),
    result: said === undefined || state !== "failed" ? said : cleanResult(said),
  };
}

/** A diff, which 0.1 does not know, comes masked in a way that still shows what changes: a second look would tear it apart. */
function cleanResult(said: NonNullable<StatusUpdate["result"]>): StatusWrite["result"] {
  const clean = redact(said) as typeof said;
  const resources = clean.resource_status?.map((one, at) => {
    const diff = said.resource_status?.[at]?.diff;
    return (diff ?? undefined) === undefined ? one : { ...one, diff };
  });
  return { ...clean, ...(resources === undefined ? {} : { resource_status: resources }) };
}
