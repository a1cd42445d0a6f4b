import { numberOf, recordOf, recordsOf, textOf, type Json } from "../http/json.ts";

export interface Readiness {
  readonly status: "ready" | "in_progress" | "failed";
  /** One word, as controllers write reasons; empty when ready. */
  readonly reason: string;
  /** For people, without the object's name. */
  readonly message: string;
}

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number | undefined;
}

export const READY: Readiness = { status: "ready", reason: "", message: "is ready" };

export function inProgress(reason: string, message: string): Readiness {
  return { status: "in_progress", reason, message };
}

export function failed(reason: string, message: string): Readiness {
  return { status: "failed", reason, message };
}

/** In the object's own order. */
export function conditionsOf(object: Json): Condition[] {
  return recordsOf(recordOf(object["status"])["conditions"]).map((found) => ({
    type: textOf(found["type"]) ?? "",
    status: textOf(found["status"]) ?? "Unknown",
    reason: textOf(found["reason"]) ?? "",
    message: textOf(found["message"]) ?? "",
    observedGeneration: numberOf(found["observedGeneration"]),
  }));
}

export function conditionOf(object: Json, type: string): Condition | undefined {
  return conditionsOf(object).find((condition) => condition.type === type);
}

/** A status from before the last change of the spec says nothing about it. Undefined when the status is of now, or does not say. */
export function generationLag(object: Json): Readiness | undefined {
  const generation = numberOf(recordOf(object["metadata"])["generation"]);
  const observed = numberOf(recordOf(object["status"])["observedGeneration"]);
  if (generation === undefined || observed === undefined || observed >= generation) return undefined;
  return inProgress("Outdated", "its controller has not seen the change yet");
}
