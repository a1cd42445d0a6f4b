import type { TransporterError } from "../kit/mod.ts";
import { type EventResult, formatTimestamp, NS_PER_MS, type ResourceStatus } from "../protocol/mod.ts";
import type { ParsedObject } from "../manifests/mod.ts";
import type { Status } from "./status.ts";

/** How an execution stood when it ended. */
export interface Closing {
  readonly resources: readonly ResourceStatus[];
  /** Wall clock, milliseconds since the epoch. */
  readonly nowMs: number;
  readonly tookMs: number;
}

/** In 0.1's order of fields. */
export function resultOf(closing: Closing, error?: { readonly message: string; readonly code: string }): EventResult {
  return {
    success: error === undefined,
    resource_status: [...closing.resources],
    ...(error === undefined ? {} : { error_message: error.message, error_code: error.code }),
    completed_at: formatTimestamp(closing.nowMs),
    duration: Math.round(closing.tookMs * NS_PER_MS),
  };
}

export function completedStatus(message: string, result: EventResult): Status {
  return { state: "completed", phase: "completed", message, level: "info", result };
}

/** The end by an error; without `closing` nothing of it was begun. */
export function failedStatus(error: TransporterError, closing?: Closing): Status {
  const message = error.code === "INTERNAL" ? `${error.message}; the agent's log has the cause` : error.message;
  return {
    state: "failed",
    phase: "failed",
    message,
    level: "error",
    details: { ...error.details, code: error.code, remedy: error.remedy },
    ...(closing === undefined ? {} : { result: resultOf(closing, { message, code: error.code }) }),
  };
}

/** The end of an event that was called back; `when` says how far it was. */
export function cancelledStatus(when: string, closing?: Closing): Status {
  const message = `Event cancelled ${when}`;
  const code = "EVENT_CANCELLED";
  return {
    state: "cancelled",
    phase: "failed",
    message,
    level: "warning",
    details: { code },
    ...(closing === undefined ? {} : { result: resultOf(closing, { message, code }) }),
  };
}

export const EXPIRED: Status = {
  state: "expired",
  phase: "received",
  message: "The event's TTL ran out before its execution could start",
  level: "warning",
  details: { code: "EVENT_EXPIRED" },
};

/** Objects that nobody has touched. */
export function untouched(objects: readonly ParsedObject[]): ResourceStatus[] {
  return objects.map(({ ref, object }) => ({
    kind: ref.kind,
    name: ref.name,
    ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
    api_version: object.apiVersion,
    status: "pending",
    message: "not tried, because the event was cancelled",
  }));
}

/** Of an execution that a restart cut in two, the first half is not known: what it made is found by the second, and must not be told as if nobody had. */
export function afterRestart(resources: readonly ResourceStatus[]): ResourceStatus[] {
  return resources.map((one) =>
    one.status === "unchanged"
      ? {
          ...one,
          message: `${one.message ?? "Resource unchanged"}; it may have been created or updated by this event before the agent's restart`,
        }
      : one,
  );
}
