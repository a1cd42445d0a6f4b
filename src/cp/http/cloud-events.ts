import { TransporterError } from "../../kit/mod.ts";
import { decodeCloudHeader, isJsonMediaType } from "../../protocol/mod.ts";
import type { CloudEnvelope } from "../cloud-envelope.ts";

const CLOUD_EVENTS = "application/cloudevents";
const STRUCTURED = "application/cloudevents+json";
const PREFIX = "ce-";

/** Where an event is handed in: 0.1's path takes any content type, and headers that 0.1 did not look at mean what they meant there. */
export type Door = "0.1" | "v1";

function notTaken(type: string, why: string): TransporterError {
  return new TransporterError("UNSUPPORTED_MEDIA_TYPE", `content type ${JSON.stringify(type.slice(0, 80))} ${why}`, {
    remedy: `Send one CloudEvent as ${STRUCTURED}, or its data as application/json with its attributes in ce-* headers.`,
  });
}

function refuse(name: string, why: string): TransporterError {
  return new TransporterError("INVALID_CLOUDEVENT", `the header ${name.slice(0, 80)} ${why}`);
}

/** The attributes of a CloudEvent in binary mode. Throws INVALID_CLOUDEVENT. */
function attributesOf(headers: Headers): Record<string, string> {
  const attributes: Record<string, string> = {};
  headers.forEach((value, name) => {
    if (!name.startsWith(PREFIX)) return;
    const attribute = name.slice(PREFIX.length);
    if (attribute === "datacontenttype" || attribute === "data")
      throw refuse(name, "is none of a CloudEvent: its data is the body, and Content-Type says what that is");
    const text = decodeCloudHeader(value);
    if (text === undefined) throw refuse(name, "is not percent-encoded UTF-8");
    attributes[attribute] = text;
  });
  return attributes;
}

function binary(headers: Headers, tenant: string, contentType: string): CloudEnvelope {
  // A body of which nothing is said is JSON, or is refused for not being it.
  if (contentType !== "" && !isJsonMediaType(contentType)) throw notTaken(contentType, "is none that an event can be in");
  return { kind: "binary", tenant, attributes: attributesOf(headers) };
}

/**
 * How a request wraps its event into a CloudEvent; undefined where it does not. Throws UNSUPPORTED_MEDIA_TYPE for batches and for formats that
 * are not spoken here, INVALID_CLOUDEVENT for headers that cannot be read.
 */
export function envelopeOf({ headers }: Request, tenant: string, door: Door): CloudEnvelope | undefined {
  const contentType = headers.get("content-type") ?? "";
  const media = contentType.toLowerCase();
  if (!media.startsWith(CLOUD_EVENTS)) {
    const isBinary = headers.has("ce-specversion") || (door === "v1" && headers.has("ce-id"));
    return isBinary ? binary(headers, tenant, contentType) : undefined;
  }
  if (media.startsWith(`${CLOUD_EVENTS}-batch`)) throw notTaken(contentType, "is a batch; CloudEvents are taken one by one");
  if (media.split(";")[0]?.trim() !== STRUCTURED || !isJsonMediaType(contentType))
    throw notTaken(contentType, "is a format of CloudEvents that is not taken here");
  return { kind: "structured", tenant, orPlain: door === "0.1" };
}
