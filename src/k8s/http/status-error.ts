import { TransporterError, type ErrorOptions } from "../../kit/mod.ts";
import { type ErrorCode, LIMITS } from "../../protocol/mod.ts";
import { actorRefusal, mayNotAct } from "./actor-error.ts";
import { conflictsIn, conflictText } from "./conflicts.ts";
import { parseRecord, recordOf, recordsOf, textOf, type Json } from "./json.ts";
import type { KubeAnswer } from "./transport.ts";

/** One entry of a Status's `details.causes`. */
interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

interface Refusal {
  readonly httpStatus: number;
  readonly reason: string;
  readonly message: string;
  readonly kind: string;
  readonly name: string;
  readonly causes: readonly Cause[];
}

/** More causes than that say nothing new. */
const MAX_CAUSES = 1_000;

/** Webhooks and the sender's own field names stand in these texts, and patterns are looked for in them. */
function shortText(value: unknown): string | undefined {
  return textOf(value)?.slice(0, LIMITS.messageChars);
}

function refusalOf(answer: KubeAnswer): Refusal {
  const root = parseRecord(answer.text);
  const details: Json = recordOf(root["details"]);
  return {
    httpStatus: answer.status,
    reason: shortText(root["reason"]) ?? "",
    message: shortText(root["message"]) ?? (answer.text.slice(0, 500).trim() || `HTTP ${answer.status}`),
    kind: shortText(details["kind"]) ?? "",
    name: shortText(details["name"]) ?? "",
    causes: recordsOf(details["causes"])
      .slice(0, MAX_CAUSES)
      .map((cause) => ({
        reason: shortText(cause["reason"]) ?? "",
        message: shortText(cause["message"]) ?? "",
        field: shortText(cause["field"]) ?? "",
      })),
  };
}

/** Words that the API server uses where a field may be set but not changed; it has no reason of its own for it. */
const IMMUTABLE =
  /(?:is|are) immutable|may not be changed|may not change|updates to .* are forbidden|updates may not (?:change|add)|cannot be changed|cannot change roleRef|may not be updated/i;
/** The built-in validation of update: `spec: Forbidden: updates to statefulset spec for fields other than …`. */
const ADMISSION = /admission webhook|ValidatingAdmissionPolicy|violates PodSecurity|denied the request|denied by policy/i;
const TYPED_PREFIX =
  /^failed to (create typed patch object|convert new object|create manager for existing fields) \([^)]*\)( to proper version)?:\s*/;

function causeText(cause: Cause): string {
  return cause.field === "" || cause.field === "<nil>" ? cause.message : `${cause.field}: ${cause.message}`;
}

function listed(texts: readonly string[], most = 3): string {
  const rest = texts.length - most;
  return `${texts.slice(0, most).join("; ")}${rest > 0 ? `; and ${rest} more` : ""}`;
}

interface Judged {
  readonly code: ErrorCode;
  readonly text: string;
  readonly details?: Json;
  readonly remedy?: string;
}

/** `unknown field "spec.replica"` of strict decoding and `.spec.replica: field not declared in schema` of server-side apply. */
function unknownFields(message: string): string[] {
  const strict = [...message.matchAll(/unknown field "([^"]+)"/g)].map((match) => match[1] ?? "");
  const undeclared = message.split(UNDECLARED).slice(0, -1).map(pathAtEnd);
  return [...strict, ...undeclared.filter((path) => path !== "")];
}

const UNDECLARED = ": field not declared in schema";

/**
 * The field's path that a text ends with: back to a blank or a comma outside brackets. By hand, as the names in it are the sender's: a
 * pattern that lets brackets hold anything tries them in more ways than a lifetime has seconds.
 */
function pathAtEnd(text: string): string {
  let start = text.length;
  let inBrackets = false;
  while (start > 0) {
    const char = text.charAt(start - 1);
    if (inBrackets) inBrackets = char !== "[";
    else if (char === "]") inBrackets = true;
    else if (char === "," || char.trim() === "") break;
    start -= 1;
  }
  const path = text.slice(start);
  return path.startsWith(".") ? path : "";
}

function judgeForbidden(refusal: Refusal): Judged {
  const { message } = refusal;
  // Whatever else a webhook or a policy says: the words after this are its author's.
  if (/^admission webhook "|^\S+ (?:"[^"]*" )?is forbidden: ValidatingAdmissionPolicy /.test(message))
    return { code: "ADMISSION_DENIED", text: message };
  if (mayNotAct(message)) return { code: "FORBIDDEN", text: message };
  if (/exceeded quota|failed quota/i.test(message)) return { code: "QUOTA_EXCEEDED", text: message };
  const ending = refusal.causes.some((cause) => cause.reason === "NamespaceTerminating");
  if (ending || /because it is being terminated/i.test(message)) return { code: "NAMESPACE_TERMINATING", text: message };
  if (/cannot [a-z]+ resource|is attempting to grant RBAC|cannot .* path/i.test(message)) return { code: "FORBIDDEN", text: message };
  if (ADMISSION.test(message)) return { code: "ADMISSION_DENIED", text: message };
  // What is left is an admission plugin of the API server itself (limits, service accounts, node restriction, …).
  return { code: /is forbidden:/i.test(message) ? "ADMISSION_DENIED" : "FORBIDDEN", text: message };
}

function judgeConflict(refusal: Refusal, ours: ReadonlySet<string>): Judged {
  const causes = refusal.causes.filter((cause) => cause.reason === "FieldManagerConflict");
  const conflicts = conflictsIn(causes, ours);
  if (conflicts.length > 0) return { code: "FIELD_CONFLICT", text: conflictText(conflicts), details: { conflicts } };
  return { code: "APPLY_FAILED", text: refusal.message, remedy: "Somebody changed the object at the same moment; send again." };
}

function judgeInvalid(refusal: Refusal): Judged {
  const { message, causes } = refusal;
  const unknown = unknownFields(message);
  if (unknown.length > 0)
    return { code: "UNKNOWN_FIELD", text: `unknown field ${listed(unknown)}`, details: { fields: unknown.slice(0, 50) } };
  if (ADMISSION.test(message)) return { code: "ADMISSION_DENIED", text: message };
  if (/because it is being terminated/i.test(message)) return { code: "NAMESPACE_TERMINATING", text: message };
  const text =
    causes.length > 0 ? listed(causes.map(causeText)) : message.replace(TYPED_PREFIX, "").replace(/^[\w.]+ "[^"]*" is invalid: /, "");
  const fields = causes.map((cause) => cause.field).filter((field) => field !== "");
  const details = fields.length === 0 ? {} : { details: { fields: fields.slice(0, 50) } };
  return { code: IMMUTABLE.test(message) ? "IMMUTABLE_FIELD" : "INVALID_OBJECT", text, ...details };
}

/** Source: k8s.io/apiserver/pkg/admission/plugin/webhook/errors */
const WEBHOOK_DOWN = /failed calling webhook "/;

function judgeFailure({ message }: Refusal): Judged {
  if (!WEBHOOK_DOWN.test(message)) return { code: "APPLY_FAILED", text: message };
  return {
    code: "APPLY_FAILED",
    text: message,
    remedy: "The webhook that has to judge the object does not answer: look at the pods behind it, then send again.",
  };
}

function judge(refusal: Refusal, ours: ReadonlySet<string>): Judged {
  const { httpStatus, message } = refusal;
  switch (httpStatus) {
    case 401:
      return { code: "KUBE_UNAUTHORIZED", text: message };
    case 403:
      return judgeForbidden(refusal);
    case 404:
      if (refusal.kind === "namespaces")
        return { code: "NAMESPACE_NOT_FOUND", text: `namespace ${JSON.stringify(refusal.name)} does not exist` };
      if (/could not find the requested resource|page not found/i.test(message))
        return { code: "UNKNOWN_KIND", text: "the API server does not serve this kind" };
      return { code: "APPLY_FAILED", text: message };
    case 409:
      return judgeConflict(refusal, ours);
    case 400:
    case 413:
    case 422:
      return judgeInvalid(refusal);
    case 429:
    case 503:
    case 504:
      return { code: "KUBE_UNAVAILABLE", text: message };
    case 500:
      // Server-side apply gives its own faults of the object as 500 without a reason.
      return TYPED_PREFIX.test(message) || /field not declared in schema/.test(message) ? judgeInvalid(refusal) : judgeFailure(refusal);
    default:
      return { code: "APPLY_FAILED", text: `${message} (HTTP ${httpStatus})` };
  }
}

/** A refusal of what was asked as somebody else says who that is. */
function byActor(judged: Judged, { actor }: KubeAnswer): Judged {
  return judged.code !== "FORBIDDEN" || actor === undefined ? judged : { ...judged, ...actorRefusal(judged.text, actor) };
}

/**
 * What the API server's refusal means, as the one error of the program: the object, the field, the server's words.
 * `ours` names managers whose conflicts are not worth a word, because their fields are taken over anyway.
 * Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
 */
export function errorOfAnswer(answer: KubeAnswer, subject: string, ours: ReadonlySet<string> = new Set()): TransporterError {
  const refusal = refusalOf(answer);
  const judged = byActor(judge(refusal, ours), answer);
  const options: ErrorOptions = {
    details: { object: subject, http_status: refusal.httpStatus, ...judged.details },
    ...(judged.remedy === undefined ? {} : { remedy: judged.remedy }),
  };
  return new TransporterError(judged.code, `${subject}: ${judged.text}`, options);
}

/** An admission webhook with side effects refuses every dry run: that says nothing about the object. */
export function refusesDryRun(answer: KubeAnswer): boolean {
  return (
    answer.status === 400 &&
    /does not support dry run|dryRun is not supported|dry.?run.*not supported/i.test(answer.text.slice(0, LIMITS.messageChars))
  );
}
