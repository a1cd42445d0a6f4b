import { TransporterError } from "../kit/mod.ts";
import type { Work } from "./delivery.ts";
import type { ManifestSource, OpenDelivery } from "./ledger.ts";
import type { Prepared } from "./preparation.ts";

export const WORKLOAD_LIMITS = {
  /** Read and waiting for their turn; what is behind waits as text. One is always read. */
  preparedCount: 32,
  preparedChars: 32 * 1024 * 1024,
  /** So often may the process die while an event is carried out; then the event is to blame. */
  crashes: 3,
  /** After the grace of a stop: for what was told to leave at once. */
  abandonMs: 500,
  /** After this much was parsed, memory is given back once there is nothing to do. */
  tidyChars: 256 * 1024,
  tidyAfterMs: 1_000,
} as const;

/** One event of the workload. */
export interface Item {
  readonly key: string;
  /** What a payload says is known only when it has arrived. */
  work: Work;
  /** By the monotonic clock; undefined without bound or once it was started. */
  readonly expiresAt: number | undefined;
  readonly resumed: boolean;
  /** An earlier process accepted it. */
  readonly recovered: boolean;
  readonly crashes: number;
  /** In which phase the process died the last time, where it is known. */
  readonly diedIn: OpenDelivery["diedIn"];
  /** Called back. */
  readonly cancel: AbortController;
  /** Its manifests are still on their way. */
  fetching: boolean;
  /** Until they are read; undefined too after a restart, when the ledger has them. */
  source: ManifestSource | undefined;
  /** What it touches is known. */
  read: boolean;
  /** Undefined also where there was no room to keep it: then it is read again when its turn comes. */
  prepared: Prepared | undefined;
  /** Its start was given to the ledger. */
  begun: boolean;
  /** Its last status was given to `Outbound`, which has it from then on. */
  ended: boolean;
}

/**
 * Which of the waiting, given in the order accepted, is to be read next, and whether there is room to keep what it says. Beyond the limits
 * only what it touches is found out, and only where an urgent event waits behind: it cannot overtake what nobody knows. `mixed`: they have
 * different priorities.
 */
export function nextToRead(waiting: Iterable<Item>, mixed: boolean): { readonly item: Item; readonly keep: boolean } | undefined {
  let count = 0;
  let chars = 0;
  let first: Item | undefined;
  let lowest = Number.POSITIVE_INFINITY;
  for (const item of waiting) {
    if (item.fetching) continue;
    if (item.read) {
      count += item.prepared === undefined ? 0 : 1;
      chars += item.prepared?.chars ?? 0;
      lowest = Math.min(lowest, item.work.priority);
      continue;
    }
    const full = count >= WORKLOAD_LIMITS.preparedCount || chars >= WORKLOAD_LIMITS.preparedChars;
    if (!full && first === undefined) return { item, keep: true };
    if (!mixed) return undefined;
    first ??= item;
    if (item.work.priority > lowest) return { item: first, keep: false };
    lowest = Math.min(lowest, item.work.priority);
  }
  return undefined;
}

type Suspect = Pick<Item, "crashes" | "diedIn" | "resumed" | "work">;

/** Whether what an event changed before it was put aside is to be put back: once, as that may be what ends the process. */
export function mayRollBack({ crashes, diedIn, work }: Suspect): boolean {
  return work.options?.onFailure === "rollback" && crashes === WORKLOAD_LIMITS.crashes && diedIn !== "reading";
}

/** Why an event must not be carried out (again); undefined when it may. */
export function refusalOf(item: Suspect): TransporterError | undefined {
  const { crashes, diedIn, resumed, work } = item;
  const left =
    work.options?.onFailure === "rollback" && diedIn !== "reading" && !mayRollBack(item) ? "; what it changed was not put back" : "";
  if (crashes >= WORKLOAD_LIMITS.crashes)
    return new TransporterError(
      "EVENT_QUARANTINED",
      `the agent's process ended ${crashes} times while it carried out this event${diedIn === undefined ? "" : `, the last time while ${diedIn === "reading" ? "reading its manifests" : diedIn}`}${left}`,
      { details: { crashes, ...(diedIn === undefined ? {} : { phase: diedIn }) } },
    );
  if (work.type === "script" && resumed)
    return new TransporterError(
      "OUTCOME_UNKNOWN",
      "the agent's process ended while the script ran; how far it came is not known, and it is not run again",
      { remedy: "Look at what the script was to do before sending it again." },
    );
  return undefined;
}
