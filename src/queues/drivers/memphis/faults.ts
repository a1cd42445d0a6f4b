import {
  AuthorizationError,
  NoRespondersError,
  PermissionViolationError,
  TimeoutError,
  UserAuthenticationExpiredError,
} from "@nats-io/nats-core";
import { messageOf, TransporterError } from "../../../kit/mod.ts";

/** The library wraps what happened, sometimes twice. */
function* chainOf(thrown: unknown): Generator {
  for (let error = thrown, depth = 0; error !== undefined && depth < 8; depth += 1) {
    yield error;
    error = error instanceof Error ? error.cause : undefined;
  }
}

/** Nobody serves the subject: no such stream or durable, JetStream not up yet, or no Memphis at all. */
export function isUnserved(thrown: unknown): boolean {
  for (const error of chainOf(thrown)) if (error instanceof NoRespondersError) return true;
  return false;
}

const DENIED_REMEDY =
  "Check connection token, or user, password and account id, and that the broker runs in that mode; the user must exist in the broker and be of type root or application. " +
  "The broker answers the same to all that is wrong with them.";

/** What a fault of the connection means to whoever wanted something. */
export function faultOf(thrown: unknown, what: string): TransporterError {
  if (thrown instanceof TransporterError) return thrown;
  for (const error of chainOf(thrown)) {
    if (error instanceof AuthorizationError || error instanceof UserAuthenticationExpiredError || error instanceof PermissionViolationError)
      return new TransporterError("QUEUE_DENIED", `Memphis refuses ${what}: ${messageOf(error)}`, { cause: thrown, remedy: DENIED_REMEDY });
    if (error instanceof TimeoutError)
      return new TransporterError("QUEUE_UNAVAILABLE", `Memphis does not answer ${what}`, { cause: thrown });
  }
  if (isUnserved(thrown)) return new TransporterError("QUEUE_UNAVAILABLE", `Memphis has nobody to answer ${what}`, { cause: thrown });
  return new TransporterError("QUEUE_UNAVAILABLE", `Memphis cannot be asked for ${what}: ${messageOf(thrown)}`, { cause: thrown });
}

/** What the broker's own words mean. What is not known may be a fault of the moment, so it is tried again. */
export function refusalOf(text: string, what: string): TransporterError {
  const said = `Memphis refuses ${what}: ${text.slice(0, 500)}`;
  if (/user\b.*does not exist|permission|not allowed to|denied|unauthori[sz]ed/i.test(text))
    return new TransporterError("QUEUE_DENIED", said, { remedy: DENIED_REMEDY });
  if (
    /only alphanumeric|can ?not be empty|can not start or end|has to be|can be one of|min value|cannot be|can't contain|SDK|cannot create station|probably since replicas|max \d+/i.test(
      text,
    )
  )
    return new TransporterError("QUEUE_INVALID", said);
  return new TransporterError("QUEUE_UNAVAILABLE", said);
}
