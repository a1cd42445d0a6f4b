import {
  type Checked,
  checkCloudAttributes,
  type CloudAttributes,
  isJsonMediaType,
  jsonProblem,
  LIMITS,
  refuse,
  type Refusal,
} from "../protocol/mod.ts";
import { uuidOfText } from "./idempotency.ts";

/** How an event is wrapped into a CloudEvent. Plain data: it goes to the worker. */
export type CloudEnvelope =
  /** The body is all of the CloudEvent. `orPlain`: it may be an event of 0.1 all the same, whatever its content type says. */
  | { readonly kind: "structured"; readonly tenant: string; readonly orPlain: boolean }
  /** The body is the data; the attributes came as headers. */
  | { readonly kind: "binary"; readonly tenant: string; readonly attributes: Readonly<Record<string, string>> };

/** What a body was, unwrapped. `at`: where in the body the event lies, as a JSON pointer. */
export type Unwrapped = { readonly event: unknown; readonly at: string; readonly isCloudEvent: boolean };

type Json = Readonly<Record<string, unknown>>;

function isRecord(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function whatIs(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : typeof value === "object" ? "an object" : `a ${typeof value}`;
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}

/** The event id that a CloudEvent stands for: made of its source and id, which are its identity, and of nothing else. */
export function idOfCloudEvent(tenant: string, { source, id }: Pick<CloudAttributes, "source" | "id">): string {
  return uuidOfText(`${tenant}\0cloudevent\0${source}\0${id}`);
}

/** No attribute of a CloudEvent can be called so: what has one, and no version, is an event of 0.1. */
function isPlain(input: Json): boolean {
  return input["specversion"] === undefined && input["target_agent"] !== undefined;
}

function parsedBase64(text: unknown): Checked<unknown> {
  const at = "/data_base64";
  if (typeof text !== "string" || !/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text))
    return refuse("INVALID_CLOUDEVENT", "the CloudEvent's data_base64 is not Base64", at);
  try {
    const json = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(text, "base64"));
    const problem = jsonProblem(json, LIMITS.eventJson);
    if (problem !== undefined) return refuse("INVALID_JSON", problem, at);
    return { ok: true, value: JSON.parse(json) };
  } catch {
    // Without what the parser says: it shows what was sent, and that may be a secret.
    return refuse("INVALID_CLOUDEVENT", "the CloudEvent's data_base64 is not JSON", at);
  }
}

function structuredData(data: unknown, base64: unknown): Checked<unknown> {
  if (base64 === undefined || base64 === null) return { ok: true, value: data };
  if (data === undefined || data === null) return parsedBase64(base64);
  return refuse("INVALID_CLOUDEVENT", "the CloudEvent has both data and data_base64", "/data_base64");
}

function refuseData(data: unknown, at: string, { id, datacontenttype }: CloudAttributes): Refusal | undefined {
  if (datacontenttype !== undefined && !isJsonMediaType(datacontenttype))
    return refuse(
      "INVALID_CLOUDEVENT",
      `the CloudEvent's data is ${JSON.stringify(datacontenttype.slice(0, 80))}; it has to be JSON in UTF-8`,
      "/datacontenttype",
    );
  if (data === undefined) return refuse("INVALID_CLOUDEVENT", "the CloudEvent has no data; the event goes there", at);
  if (!isRecord(data))
    return refuse("INVALID_CLOUDEVENT", `the CloudEvent's data is ${whatIs(data)}; it has to be an event, as POST /v1/events takes it`, at);
  if (isAbsent(data["id"]) || data["id"] === id) return undefined;
  return refuse(
    "INVALID_CLOUDEVENT",
    `the CloudEvent's data has an id of its own (${JSON.stringify(data["id"]).slice(0, 80)}); source and id of the CloudEvent say which event it is`,
    `${at}/id`,
  );
}

/** The event that is the data, with what the attributes say where it says nothing itself. */
function eventOf(data: Json, attributes: CloudAttributes, tenant: string): Json {
  const { id, source, type, subject, time, traceparent } = attributes;
  return {
    ...data,
    id: idOfCloudEvent(tenant, attributes),
    ...(isAbsent(data["created_at"]) && time !== undefined ? { created_at: time } : {}),
    ...(isAbsent(data["created_by"]) ? { created_by: source } : {}),
    ...(isAbsent(data["traceparent"]) && traceparent !== undefined ? { traceparent } : {}),
    cloudevent: { id, source, type, ...(subject === undefined ? {} : { subject }) },
  };
}

/** Takes an event out of the CloudEvent that it came in. Pure. */
export function unwrapCloudEvent(input: unknown, envelope: CloudEnvelope): Checked<Unwrapped> {
  const { tenant } = envelope;
  let attributes = envelope.kind === "binary" ? checkCloudAttributes(envelope.attributes) : undefined;
  let data: Checked<unknown> = { ok: true, value: input };
  const at = envelope.kind === "binary" ? "" : "/data";
  if (envelope.kind === "structured") {
    if (!isRecord(input)) return refuse("INVALID_CLOUDEVENT", `a CloudEvent is a JSON object, not ${whatIs(input)}`);
    if (envelope.orPlain && isPlain(input)) return { ok: true, value: { event: input, at: "", isCloudEvent: false } };
    const { data: value, data_base64: base64, ...others } = input;
    attributes = checkCloudAttributes(others);
    data = structuredData(value, base64);
  }
  if (attributes?.ok !== true) return attributes ?? refuse("INVALID_CLOUDEVENT", "the CloudEvent has no attributes");
  if (!data.ok) return data;
  const refused = refuseData(data.value, at, attributes.value);
  if (refused !== undefined) return refused;
  return { ok: true, value: { event: eventOf(data.value as Json, attributes.value, tenant), at, isCloudEvent: true } };
}
