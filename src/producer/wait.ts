import { type Client, isPassing } from "../client/mod.ts";
import { type Timers, TransporterError } from "../kit/mod.ts";
import { type EventResult, type LogEntry, type State, formatDurationMs, isTerminal } from "../protocol/mod.ts";

export interface WaitOptions {
  readonly timers: Timers;
  readonly signal: AbortSignal;
  /** Without one it waits as long as the event lives. */
  readonly timeoutMs?: number | undefined;
  /** Waited for; a throw ends the waiting. */
  readonly onEntry?: (entry: LogEntry) => void | Promise<void>;
  readonly onInterruption?: (why: TransporterError | undefined) => void;
  /** Which attempt is meant, where the event was tried before; what belongs to others is not told. Absent: whichever is the last. */
  readonly revision?: number | undefined;
  /** Keep trying where the control plane is not there even at first: it was a moment ago. */
  readonly patient?: boolean;
  /**
   * The event is on its way through a queue: one that the control plane does not know is waited for. Called about once a second while it
   * does not; a throw ends the waiting.
   */
  readonly onUnknown?: ((waitedMs: number) => void | Promise<void>) | undefined;
}

/** How an event ended. */
export interface Outcome {
  readonly eventId: string;
  readonly state: State;
  readonly message: string;
  readonly result: EventResult | undefined;
  /** What to do next, where somebody who ended it has said so. */
  readonly remedy?: string | undefined;
}

function remedyOf(entry: LogEntry | undefined): string | undefined {
  const remedy = entry?.details?.["remedy"];
  return typeof remedy === "string" && remedy !== "" ? remedy : undefined;
}

/** Follows an event to its end. Throws WAIT_TIMEOUT when that takes longer than given; the event itself goes on. */
export async function waitForEvent(client: Client, eventId: string, options: WaitOptions): Promise<Outcome> {
  const limit = new AbortController();
  const { timeoutMs } = options;
  const timer =
    timeoutMs === undefined
      ? undefined
      : options.timers.after(timeoutMs, () =>
          limit.abort(new TransporterError("WAIT_TIMEOUT", `event ${eventId} did not finish within ${formatDurationMs(timeoutMs)}`)),
        );
  const signal = AbortSignal.any([options.signal, limit.signal]);
  try {
    if (options.onUnknown !== undefined) await untilKnown(client, eventId, options, signal);
    const entries = client.followEvent(eventId, { signal, onInterruption: options.onInterruption, patient: options.patient });
    let ending: LogEntry | undefined;
    for await (const entry of entries) {
      if (options.revision !== undefined && entry.revision !== options.revision) continue;
      await options.onEntry?.(entry);
      // The first end of an attempt is its end; a truth that comes later is told and changes nothing.
      if (isTerminal(entry.state) && entry.revision > (ending?.revision ?? 0)) ending = entry;
    }
    const remedy = remedyOf(ending);
    if (ending?.result !== undefined) return { eventId, state: ending.state, message: ending.message, result: ending.result, remedy };
    const detail = await client.getEvent(eventId, { signal });
    return { eventId, state: detail.state, message: ending?.message ?? detail.message, result: detail.result, remedy };
  } finally {
    timer?.cancel();
  }
}

const LOOK_AGAIN_MS = 250;
const LOOKS_BETWEEN = 4;

async function untilKnown(client: Client, eventId: string, options: WaitOptions, signal: AbortSignal): Promise<void> {
  let interrupted = false;
  for (let looks = 0; ; looks += 1) {
    try {
      await client.getEvent(eventId, { signal });
      options.onInterruption?.(undefined);
      return;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof TransporterError)) throw error;
      const unknown = error.code === "EVENT_NOT_FOUND";
      if (!unknown && !(options.patient === true && isPassing(error))) throw error;
      if (!unknown && !interrupted) options.onInterruption?.(error);
      interrupted = !unknown;
      if (unknown && looks % LOOKS_BETWEEN === LOOKS_BETWEEN - 1) await options.onUnknown?.((looks + 1) * LOOK_AGAIN_MS);
    }
    await options.timers.sleep(LOOK_AGAIN_MS, signal);
  }
}

/** The error that an ending stands for; undefined for a completed event. */
export function errorOfOutcome(outcome: Outcome): TransporterError | undefined {
  const { eventId, state } = outcome;
  if (state === "completed") return undefined;
  if (state === "expired")
    return new TransporterError("EVENT_EXPIRED", `event ${eventId} expired before its agent started it`, {
      remedy: "See whether its agent is connected (`transporter get agents`), then send it again.",
    });
  const why = outcome.result?.error_message ?? outcome.message;
  const code = outcome.result?.error_code;
  return new TransporterError(
    "EVENT_FAILED",
    `event ${eventId} ${state === "failed" ? "failed" : state === "cancelled" ? "was cancelled" : `is ${state}`}${why === "" ? "" : `: ${why}`}`,
    {
      details: { state, ...(code === undefined || code === null ? {} : { error_code: code }) },
      ...(outcome.remedy === undefined ? {} : { remedy: outcome.remedy }),
    },
  );
}
