import { toTransporterError } from "../../kit/mod.ts";
import { numberOf, recordsOf, textOf, type Json } from "./json.ts";

/** 408 and 429 ask for it; of 5xx only "not implemented" and "not this version of HTTP" stay as they are. */
function isPassing(httpStatus: number): boolean {
  if (httpStatus === 408 || httpStatus === 409 || httpStatus === 429) return true;
  return httpStatus >= 500 && httpStatus !== 501 && httpStatus !== 505;
}

function heals(code: string | undefined, details: Json): boolean {
  // Throttled, overloaded, away, or without an answer in time.
  if (code === "KUBE_UNAVAILABLE") return true;
  // Everything that is wrong with the object itself has a code of its own. What is left is a webhook that cannot be called (500), an
  // optimistic lock that somebody else won (409), and faults of the API server.
  if (code !== "APPLY_FAILED" || details["pinned"] === true) return false;
  const httpStatus = numberOf(details["http_status"]);
  return httpStatus !== undefined && isPassing(httpStatus);
}

/**
 * Whether what went wrong in the cluster can pass by itself, so that the same event, unchanged, can end better in a moment. Of an error that stands for
 * several objects, each has to be able to: one that is invalid stays invalid. Pure.
 */
export function canHeal(thrown: unknown): boolean {
  const error = toTransporterError(thrown);
  const faults = recordsOf(error.details["faults"]);
  if (faults.length > 0) return faults.every((fault) => heals(textOf(fault["code"]), fault));
  return heals(error.code, error.details);
}
