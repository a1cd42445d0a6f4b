import { type Checked, refuse, type Refusal, shown } from "./checked.ts";
import { LIMITS } from "./limits.ts";
import { parseTimestampMs } from "./timestamp.ts";

/** The types of CloudEvents that are ours: `event` is taken in, the others are given out. */
export const CLOUD_EVENT_TYPES = {
  event: "dev.transporter.event.v1",
  status: "dev.transporter.event.status.v1",
  audit: "dev.transporter.audit.v1",
} as const;
const OUR_TYPES = "dev.transporter.";

/** What a CloudEvent says of itself, beside its data, as far as it means something here. */
export interface CloudAttributes {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string | undefined;
  readonly time: string | undefined;
  readonly datacontenttype: string | undefined;
  /** W3C trace context, of the extension for distributed tracing. */
  readonly traceparent: string | undefined;
}

type Attributes = Readonly<Record<string, unknown>>;

const NAME = /^[a-z0-9]+$/;
/** The specification leaves these out of every text, and lone surrogates. */
const UNUSABLE = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/;
const URI_REFERENCE = /^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+$/;
const SCHEME = /^[A-Za-z][A-Za-z0-9+.-]*:/;
const MEDIA_TYPE = /^[\w.!#$&^+-]+\/[\w.!#$&^+-]+\s*(?:;.*)?$/;
const INT_32 = 2 ** 31;

function invalid(name: string, message: string): Refusal {
  return refuse("INVALID_CLOUDEVENT", `the CloudEvent's ${shown(name)} ${message}`, `/${shown(name)}`);
}

function quoted(text: string): string {
  return JSON.stringify(shown(text));
}

function refuseAttribute(name: string, value: unknown): Refusal | undefined {
  if (!NAME.test(name))
    return refuse(
      "INVALID_CLOUDEVENT",
      `${quoted(name)} is no name of an attribute: those are lower-case letters and digits; what is to be done goes into data`,
      `/${shown(name)}`,
    );
  switch (typeof value) {
    case "boolean":
      return undefined;
    case "number":
      return Number.isInteger(value) && value >= -INT_32 && value < INT_32 ? undefined : invalid(name, "is no whole number of 32 bits");
    case "string":
      if (value.length > LIMITS.cloudAttributeChars)
        return invalid(name, `is ${value.length} characters long; at most ${LIMITS.cloudAttributeChars} are allowed`);
      return UNUSABLE.test(value) || !value.isWellFormed() ? invalid(name, "has characters that no attribute may have") : undefined;
    default:
      return invalid(name, `is ${Array.isArray(value) ? "an array" : "an object"}; attributes are texts, whole numbers, or true and false`);
  }
}

/** A text, or the refusal; undefined where it is absent and need not be there. */
function textOf(attributes: Attributes, name: string): string | Refusal | undefined {
  const value = attributes[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "string") return invalid(name, "is not a text");
  return value === "" ? invalid(name, "is empty") : value;
}

function refuseCore(texts: Readonly<Record<string, string | undefined>>): Refusal | undefined {
  const { specversion, source, time, type, dataschema, datacontenttype } = texts;
  if (specversion !== undefined && specversion !== "1.0") return invalid("specversion", `is ${quoted(specversion)}; 1.0 is spoken here`);
  for (const name of ["specversion", "id", "source", "type"]) if (texts[name] === undefined) return invalid(name, "is missing");
  if (source !== undefined && !URI_REFERENCE.test(source)) return invalid("source", `${quoted(source)} is not a URI reference`);
  if (time !== undefined && parseTimestampMs(time) === undefined) return invalid("time", `${quoted(time)} is not an RFC 3339 time`);
  if (dataschema !== undefined && !(SCHEME.test(dataschema) && URI_REFERENCE.test(dataschema)))
    return invalid("dataschema", `${quoted(dataschema)} is not a URI`);
  if (datacontenttype !== undefined && !MEDIA_TYPE.test(datacontenttype))
    return invalid("datacontenttype", `${quoted(datacontenttype)} is not a media type`);
  // What is given out here, and comes back, would go round for ever.
  if (type !== undefined && type.startsWith(OUR_TYPES) && type !== CLOUD_EVENT_TYPES.event)
    return invalid("type", `is ${quoted(type)}, which is not taken here; write ${CLOUD_EVENT_TYPES.event}, or one of your own`);
  return undefined;
}

const CORE = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"] as const;

/** Checks the attributes of a CloudEvent 1.0, `data` and `data_base64` apart. What is null counts as absent. */
export function checkCloudAttributes(attributes: Attributes): Checked<CloudAttributes> {
  for (const [name, value] of Object.entries(attributes)) {
    const refused = value === null || value === undefined ? undefined : refuseAttribute(name, value);
    if (refused !== undefined) return refused;
  }
  const texts: Record<string, string | undefined> = {};
  for (const name of CORE) {
    const text = textOf(attributes, name);
    if (typeof text === "object") return text;
    texts[name] = text;
  }
  const refused = refuseCore(texts);
  if (refused !== undefined) return refused;
  const { id = "", source = "", type = "", subject, time, datacontenttype } = texts;
  const { traceparent } = attributes;
  return {
    ok: true,
    value: {
      id,
      source,
      type,
      subject,
      time,
      datacontenttype,
      traceparent: typeof traceparent === "string" ? traceparent : undefined,
    },
  };
}

/** Whether a media type says JSON in UTF-8, with whatever parameters. */
export function isJsonMediaType(type: string): boolean {
  const [media = "", ...parameters] = type.toLowerCase().split(";");
  if (!/^(?:application|text)\/(?:[\w.!#$&^-]+\+)?json$/.test(media.trim())) return false;
  return parameters.every((parameter) => {
    const [name = "", value = ""] = parameter.split("=");
    return name.trim() !== "charset" || /^"?(?:utf-?8|us-ascii)"?$/.test(value.trim());
  });
}

/** The value of an attribute that came as a header: out of its quotes, then percent-decoded once. Undefined for what is no UTF-8 afterwards. */
export function decodeCloudHeader(value: string): string | undefined {
  const text = /^"(?:[^"\\]|\\.)*"$/.test(value) ? value.slice(1, -1).replaceAll(/\\(.)/g, "$1") : value;
  if (!/^[\u0020-\u007e\t]*$/.test(text)) return undefined;
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
