import { type ErrorOptions, TransporterError } from "../kit/mod.ts";
import { ProblemSchema, isErrorCode } from "../protocol/mod.ts";
import * as v from "valibot";

const SHOWN_CHARS = 500;

/**
 * Turns an answer that is not a success into the error that the control plane meant: the same code, its words and its remedy. What is
 * not problem+json, or has a code that this version does not know, becomes CP_ANSWER with as much of the answer as a person can use.
 */
export function errorOfAnswer(status: number, contentType: string, body: string, what: string, retryAfterMs?: number): TransporterError {
  const problem = problemOf(contentType, body);
  const asked = retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs };
  if (problem === undefined) {
    const words = body.trim().slice(0, SHOWN_CHARS);
    return new TransporterError("CP_ANSWER", `${what}: HTTP ${status}${words === "" ? "" : `: ${words}`}`, {
      details: { status, ...asked },
      remedy:
        status === 404 || status === 405
          ? "This may not be a Transporter control plane, or one of 0.1; check --cp-url."
          : "Check --cp-url, and any proxy on the way; the control plane's log may say more.",
    });
  }
  const details: Record<string, unknown> = { status, request_id: problem.request_id, ...asked };
  if (problem.pointer !== undefined) details["pointer"] = problem.pointer;
  const options: ErrorOptions = { details, remedy: problem.remedy };
  if (isErrorCode(problem.code)) return new TransporterError(problem.code, problem.detail, options);
  return new TransporterError("CP_ANSWER", `${problem.detail} (${problem.code})`, options);
}

function problemOf(contentType: string, body: string): v.InferOutput<typeof ProblemSchema> | undefined {
  if (!contentType.includes("json")) return undefined;
  try {
    const parsed = v.safeParse(ProblemSchema, JSON.parse(body));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}
