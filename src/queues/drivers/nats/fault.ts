import { AuthorizationError, PermissionViolationError, RequestError, UserAuthenticationExpiredError } from "@nats-io/transport-node";
import { JetStreamApiError } from "@nats-io/jetstream";
import { messageOf, TransporterError } from "../../../kit/mod.ts";

/** Codes of the JetStream API. Source: nats-server, server/errors.json. */
export const API_CODE = {
  consumerNotFound: 10_014,
  messageNotFound: 10_037,
  notEnabledForAccount: 10_039,
  messageTooLarge: 10_054,
  streamNameInUse: 10_058,
  streamNotFound: 10_059,
  wrongStream: 10_060,
  notEnabled: 10_076,
} as const;

export function apiCodeOf(error: unknown): number | undefined {
  return error instanceof JetStreamApiError ? error.code : undefined;
}

/** Nobody serves what was asked: JetStream is off, has no leader just now, or no stream takes the subject. */
export function isNoResponders(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof RequestError && error.isNoResponders()) return true;
  return error.cause !== undefined && isNoResponders(error.cause);
}

function isDenied(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof AuthorizationError || error instanceof PermissionViolationError || error instanceof UserAuthenticationExpiredError)
    return true;
  return error.cause !== undefined && isDenied(error.cause);
}

/** What the library or the server said, in our words. `what` was being done, such as "publishing to transporter.events.low". */
export function queueFault(error: unknown, what: string): TransporterError {
  if (error instanceof TransporterError) return error;
  const said = messageOf(error);
  if (isDenied(error)) return new TransporterError("QUEUE_DENIED", `${what}: the NATS server refuses it: ${said}`, { cause: error });
  const code = apiCodeOf(error);
  if (code === API_CODE.messageTooLarge)
    return new TransporterError("QUEUE_MESSAGE_TOO_LARGE", `${what}: the stream takes no message of this size`, { cause: error });
  if (code === API_CODE.notEnabled || code === API_CODE.notEnabledForAccount)
    return new TransporterError("QUEUE_INVALID", `${what}: JetStream is not enabled there (${said})`, {
      cause: error,
      remedy: "Start nats-server with JetStream, and enable it for the account that is used.",
    });
  if (error instanceof JetStreamApiError && error.status >= 400 && error.status < 500)
    return new TransporterError("QUEUE_INVALID", `${what}: the NATS server refuses it: ${said}`, { cause: error });
  return new TransporterError("QUEUE_UNAVAILABLE", `${what}: ${isNoResponders(error) ? "JetStream does not answer there" : said}`, {
    cause: error,
  });
}
