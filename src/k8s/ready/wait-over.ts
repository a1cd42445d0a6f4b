import { TransporterError, toTransporterError } from "../../kit/mod.ts";
import { groupObjects } from "../apply/survey.ts";
import type { Target } from "../apply/target.ts";
import type { KubeClient } from "../http/client.ts";

/** The first word after two seconds, so that what is quick stays quiet; then often enough to see it move. */
const FIRST_WORD_MS = 2_000;
const NEXT_WORD_MS = 5_000;

export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** From time to time, while it is waited. */
  readonly onWaiting: () => void;
}

export interface WaitEnding {
  /** The time was over. */
  readonly late: boolean;
  /** What kept a collection from being followed; thrown on by whoever has nothing else to say. */
  readonly refused: () => TransporterError;
}

/**
 * Follows the collections of these targets until all have been followed to their end, or `end` is aborted: by whoever has seen enough, by the
 * first that cannot be followed, or when the time is over. Throws the signal's reason.
 */
export async function waitOver<T extends Target>(
  client: KubeClient,
  targets: readonly T[],
  end: AbortController,
  options: WaitOptions,
  follow: (group: ReturnType<typeof groupObjects<T>>[number]) => Promise<void>,
): Promise<WaitEnding> {
  const { timers } = client.ports;
  const { signal, timeoutMs, onWaiting } = options;
  signal?.throwIfAborted();
  const onAbort = (): void => end.abort();
  signal?.addEventListener("abort", onAbort, { once: true });
  let late = false;
  const deadline = timers.after(timeoutMs, () => {
    late = true;
    end.abort();
  });
  const say = (): void => {
    if (end.signal.aborted) return;
    onWaiting();
    word = timers.after(NEXT_WORD_MS, say, { background: true });
  };
  let word = timers.after(FIRST_WORD_MS, say, { background: true });
  try {
    const ended = await Promise.allSettled(
      groupObjects(targets).map(async (group) => {
        try {
          await follow(group);
        } catch (error) {
          // One collection that cannot be watched decides for all: the others need not be waited for.
          if (!end.signal.aborted) end.abort();
          throw error;
        }
      }),
    );
    signal?.throwIfAborted();
    const refused = ended.find((one) => one.status === "rejected" && one.reason instanceof TransporterError);
    return { late, refused: () => toTransporterError(refused?.status === "rejected" ? refused.reason : undefined) };
  } finally {
    deadline.cancel();
    word.cancel();
    signal?.removeEventListener("abort", onAbort);
    if (!end.signal.aborted) end.abort();
  }
}
