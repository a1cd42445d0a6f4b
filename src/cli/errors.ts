import { TransporterError, messageOf, toTransporterError } from "../kit/mod.ts";
import { redactText } from "../redaction/mod.ts";
import { Interrupted } from "./command.ts";
import { EXIT } from "./exit.ts";
import { BrokenPipe, type Host, wantsColor } from "./host.ts";
import { painter, safeLine, safeText } from "./text.ts";

function causes(error: unknown): string[] {
  const out: string[] = [];
  let cause = error instanceof Error ? error.cause : undefined;
  for (let depth = 0; cause !== undefined && cause !== null && depth < 5; depth++) {
    out.push(redactText(cause instanceof Error ? (cause.stack ?? messageOf(cause)) : messageOf(cause)));
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return out;
}

/**
 * The one place that tells people about an error: what happened, its stable code, what to do next; causes with `--debug`. Answers the
 * exit code. What is not ours is a bug, says so, and shows what was thrown, since nothing else would help whoever reports it.
 */
export function tellError(thrown: unknown, host: Host, debug: boolean): number {
  if (thrown instanceof BrokenPipe) return EXIT.brokenPipe;
  if (thrown instanceof Interrupted) return thrown.exitCode;
  const error = toTransporterError(thrown);
  const paint = painter(wantsColor(host.err, host.env));
  const message = safeText(redactText(error.message)).replaceAll("\n", "\n  ");
  host.err.write(`${paint("red", "error:")} ${message}\n`);
  host.err.write(`${paint("dim", "code:")}  ${error.code}\n`);
  const because = error.details["error_code"];
  if (typeof because === "string") host.err.write(`${paint("dim", "cause:")} ${safeLine(because)}\n`);
  const requestId = error.details["request_id"];
  if (typeof requestId === "string") host.err.write(`${paint("dim", "request:")} ${safeLine(requestId)}\n`);
  const isBug = !(thrown instanceof TransporterError);
  if (isBug) host.err.write(`${paint("dim", "cause:")} ${safeLine(redactText(messageOf(thrown)))}\n`);
  const hint = isBug ? "This is a fault of ours. Run it again with --debug and report what it prints." : error.remedy;
  host.err.write(`${paint("cyan", "hint:")}  ${safeLine(hint)}\n`);
  if (debug) for (const cause of causes(error)) host.err.write(`${paint("dim", "cause:")} ${safeText(cause).replaceAll("\n", "\n  ")}\n`);
  return EXIT[error.kind];
}
