import { type Logger, toTransporterError, type TransporterError } from "../../kit/mod.ts";
import { CODES, httpStatusOf, type Problem } from "../../protocol/mod.ts";
import { redactText } from "../../redaction/mod.ts";

const RETRY_AFTER_SECONDS = 1;
/** How somebody is to show who they are (RFC 6750). */
const CHALLENGE = `Bearer realm="transporter"`;

/** When it is worth trying again, as far as whoever threw it knows. */
function retryAfterSeconds({ details }: TransporterError): number {
  const waitMs = details["retry_after_ms"];
  return typeof waitMs === "number" && waitMs > 0 ? Math.ceil(waitMs / 1000) : RETRY_AFTER_SECONDS;
}

/** Turns whatever a handler threw into problem+json (RFC 9457). The cause is logged and never sent. */
export function problemResponse(thrown: unknown, requestId: string, log: Logger, headers: Record<string, string> = {}): Response {
  const error = toTransporterError(thrown);
  const status = httpStatusOf(error.code);
  if (status >= 500) log.error("Request failed", { request_id: requestId, code: error.code, error: error.message, cause: error.cause });
  else log.debug("Request refused", { request_id: requestId, code: error.code, error: error.message });
  return Response.json(problemOf(error, status, requestId), {
    status,
    headers: {
      "content-type": "application/problem+json",
      ...(error.kind === "unavailable" ? { "retry-after": String(retryAfterSeconds(error)) } : {}),
      // What is still coming would cost more to pass over than the connection is worth.
      ...(error.details["hang_up"] === true ? { connection: "close" } : {}),
      ...(status === 401 ? { "www-authenticate": CHALLENGE } : {}),
      ...headers,
    },
  });
}

function problemOf(error: TransporterError, status: number, requestId: string): Problem {
  const pointer = error.details["pointer"];
  return {
    type: `urn:transporter:problem:${error.code}`,
    title: CODES[error.code].title,
    status,
    detail: redactText(error.message),
    code: error.code,
    request_id: requestId,
    remedy: error.remedy,
    ...(typeof pointer === "string" ? { pointer } : {}),
  };
}
