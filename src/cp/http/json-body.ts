import * as v from "valibot";
import { refusalError, TransporterError } from "../../kit/mod.ts";
import { issueRefusal } from "../../protocol/mod.ts";
import { BodyBudget, withBody } from "./body.ts";
import type { Call } from "./endpoint.ts";

/** Enough for any certificate request with its chain. */
const MAX_BYTES = 64 * 1024;

/**
 * The body of a request as the schema has it. Throws UNSUPPORTED_MEDIA_TYPE, BODY_TOO_LARGE, INVALID_JSON, INVALID_REQUEST. Only JSON that says
 * so: a form of some web page cannot.
 */
export async function jsonBody<S extends v.GenericSchema>(call: Call, schema: S): Promise<v.InferOutput<S>> {
  const type = call.request.headers.get("content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";
  if (type !== "application/json")
    throw new TransporterError("UNSUPPORTED_MEDIA_TYPE", `content type ${JSON.stringify(type).slice(0, 80)} is not taken here`);
  // A budget of its own: these are small, and are not to wait for uploads.
  const value = await withBody(call.request, MAX_BYTES, new BodyBudget(MAX_BYTES), (body) => Promise.resolve(parsed(textOf(body))));
  const checked = v.safeParse(schema, value, { abortEarly: true });
  if (!checked.success) throw refusalError(issueRefusal(checked.issues[0], "INVALID_REQUEST"));
  return checked.output;
}

function textOf(body: string | Uint8Array | readonly Uint8Array[]): string {
  if (typeof body === "string") return body;
  return new TextDecoder().decode(body instanceof Uint8Array ? body : Buffer.concat(body));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Without what the parser says: it shows what was sent, and that may be a secret.
    throw new TransporterError("INVALID_JSON", "the body is not JSON");
  }
}
