import { TransporterError } from "../kit/mod.ts";
import { type ErrorCode, type EventResult, isErrorCode } from "../protocol/mod.ts";
import type { Work } from "./delivery.ts";

/** What a `script` event brings along. */
export interface ScriptPayload {
  readonly script: string;
  readonly args: readonly string[];
}

export interface ScriptContext {
  /** Aborted by the deadline, when the event is called back, or when the agent can wait no longer. */
  readonly signal: AbortSignal;
  readonly progress: (text: string) => void;
}

/** How a script ended. A throw counts as a failure too. */
export type ScriptResult = Partial<EventResult> & { readonly success: boolean };

/** Runs scripts. Called at most once for a delivery, however often the agent is restarted. */
export type ScriptRunner = (work: Work, payload: ScriptPayload, context: ScriptContext) => Promise<ScriptResult>;

/** Types of work beside manifests, by who can do them. */
export interface Runners {
  readonly script?: ScriptRunner;
}

/** Of what the ledger keeps of a script event: its text, then its arguments. */
export function scriptOf([script, ...args]: readonly string[]): ScriptPayload {
  if (script === undefined || script.trim() === "") throw new TransporterError("EMPTY_SCRIPT", "script event must have a script");
  return { script, args };
}

/** The error of a script that says of itself that it failed. */
export function scriptFailure(result: ScriptResult): TransporterError {
  const code: ErrorCode = typeof result.error_code === "string" && isErrorCode(result.error_code) ? result.error_code : "EVENT_FAILED";
  return new TransporterError(code, result.error_message ?? "the script failed");
}
