import { TransporterError } from "../../kit/mod.ts";
import type { KubeClient } from "../http/client.ts";
import { type Conflict, conflictText } from "../http/conflicts.ts";
import { type Json, recordsOf, textOf } from "../http/json.ts";
import { differingPaths } from "../ownership/content.ts";
import type { AppliedMetadata } from "./apply-request.ts";
import type { PlannedObject } from "./plan.ts";
import { readObject } from "./put-back.ts";
import { redactText } from "../../redaction/mod.ts";
import { isPrecious } from "../ownership/treatment.ts";

/** When a manager last changed something in this way; undefined when the API server does not say. */
function lastWritten(metadata: AppliedMetadata, { manager, subresource }: Conflict): string | undefined {
  const times = metadata.managedFields
    .filter((entry) => entry["manager"] === manager && (textOf(entry["subresource"]) ?? "") === (subresource ?? ""))
    .flatMap((entry) => textOf(entry["time"]) ?? []);
  return times.toSorted().at(-1);
}

function conflictsOf(error: TransporterError): Conflict[] {
  return recordsOf(error.details["conflicts"]).map((one) => ({
    manager: textOf(one["manager"]) ?? "",
    fields: Array.isArray(one["fields"]) ? one["fields"].filter((field) => typeof field === "string") : [],
    field_count: Number(one["field_count"] ?? 0),
    subresource: textOf(one["subresource"]),
    time: textOf(one["time"]),
  }));
}

/** A conflict with when its managers last wrote: the API server tells it of few of them. */
export function withTimes(error: TransporterError, planned: PlannedObject, metadata: AppliedMetadata | undefined): TransporterError {
  const conflicts = conflictsOf(error);
  if (metadata === undefined || conflicts.length === 0) return error;
  const timed = conflicts.map((one) => ({ ...one, time: one.time ?? lastWritten(metadata, one) }));
  return new TransporterError(error.code, `${planned.label}: ${conflictText(timed)}`, {
    details: { ...error.details, conflicts: timed },
    remedy: error.remedy,
  });
}

/** More fields than that tell a person nothing. */
const MAX_FIELDS = 5;
/** The fields below those that the API server names. */
function changesBelow(planned: PlannedObject, live: Json, fields: readonly string[]): string[] {
  const changed = differingPaths(planned.parsed.object["spec"], live["spec"], "spec");
  return changed.filter((path) => fields.some((field) => path === field || path.startsWith(`${field}.`)));
}

/**
 * A refusal because of fields that cannot be changed, in fewer and clearer words: the API server says at times only that something of the spec
 * may not change, or writes the whole of it out.
 */
export async function explainImmutable(
  client: KubeClient,
  planned: PlannedObject,
  error: TransporterError,
  signal: AbortSignal | undefined,
): Promise<TransporterError> {
  const named = Array.isArray(error.details["fields"]) ? error.details["fields"].filter((field) => typeof field === "string") : [];
  const live = await readObject(client, planned, signal).catch(() => undefined);
  signal?.throwIfAborted();
  const changes = live === undefined ? [] : changesBelow(planned, live, named);
  const fields = changes.length === 0 ? named : changes;
  const rest = fields.length - MAX_FIELDS;
  const which = `${fields.slice(0, MAX_FIELDS).join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
  const subject = `${planned.label}: `;
  const words = error.message.startsWith(subject) ? error.message.slice(subject.length) : error.message;
  const passedBy = isPrecious(planned.ref) ? " (--on-immutable recreate is not for this kind: the object itself has to ask for it)" : "";
  const text = `${fields.length === 0 ? words : `${which} cannot be changed once it is set: ${shortened(words)}`}${passedBy}`;
  return new TransporterError("IMMUTABLE_FIELD", `${subject}${text}`, {
    details: { ...error.details, ...(fields.length === 0 ? {} : { fields: fields.slice(0, 50) }) },
  });
}

const VALUE = "Invalid value: ";
const LONG_VALUE_CHARS = 200;
const VERDICT = /: (?:field is immutable|may not|cannot)/g;

/** Without a value that is longer than what is worth reading, where it is clear at which words it ends. */
function withoutLongValue(words: string): string {
  const start = words.indexOf(VALUE);
  if (start < 0) return words;
  VERDICT.lastIndex = start + VALUE.length + LONG_VALUE_CHARS;
  const end = VERDICT.exec(words)?.index;
  return end === undefined ? words : `${words.slice(0, start)}${words.slice(end + 2)}`;
}

/** The API server writes the refused value out in full, or how it differs line by line; what matters stands around it. */
function shortened(words: string): string {
  const [first = ""] = withoutLongValue(words).split("\n");
  // Half of a secret nobody would know later.
  return redactText(first).slice(0, 600);
}
