import { type Ports, TransporterError } from "../../kit/mod.ts";
import { isTerminal, type LogEntry } from "../../protocol/mod.ts";
import type { Store } from "../../stores/mod.ts";
import type { Bell } from "../bell.ts";
import type { Standing } from "./standing.ts";

/** Proxies and Bun itself cut a stream that says nothing; a comment line keeps it. */
const KEEP_ALIVE_MS = 5_000;
const BATCH = 200;

export interface LiveOptions {
  readonly store: Store;
  readonly bell: Bell;
  readonly ports: Ports;
  readonly tenant: string;
  /** One event, or all when undefined. */
  readonly eventId: string | undefined;
  readonly afterSeq: number;
  /** Of one event: its newest revision. What ended before it was tried again is no end. */
  readonly revision: number;
  /** The event is over already: what is in the log, then the end. */
  readonly finished: boolean;
  /** Asked at each ring: a control plane that stops ends its streams, and their readers come back. */
  readonly isStopping: () => boolean;
  readonly signal: AbortSignal;
  /** Whether whoever follows may see this entry; all of them where it is absent. */
  readonly sees?: (entry: LogEntry) => boolean | Promise<boolean>;
  /** Whoever follows, for as long as they may. */
  readonly standing?: Standing;
  /** How an entry is told; as JSON where it is absent. */
  readonly tell?: (entry: LogEntry) => Promise<string>;
  /** The store may be put back to an earlier state while the stream stands, and give numbers again that were read here. */
  readonly forgets?: boolean;
}

function frame(entry: LogEntry, data: string): string {
  return `id: ${entry.seq}\nevent: status\ndata: ${data}\n\n`;
}

/**
 * A live stream as server-sent events: everything after `afterSeq` from the store, then each new entry as the bell rings. It ends after an
 * event's last entry with `event: end`. Nothing is buffered for a slow reader: it is read from the store when there is room.
 */
export function liveStream(options: LiveOptions): ReadableStream<Uint8Array> {
  const { store, bell, ports, tenant, eventId, sees, standing } = options;
  const encoder = new TextEncoder();
  let afterSeq = options.afterSeq;
  let { finished, revision } = options;
  let rung = true;
  let quiet = false;
  let wake: (() => void) | undefined;
  /** When something was said last: what is passed over is no sign of life to whoever follows. */
  let toldAtMs = ports.clock.monotonic();
  const reader = { gone: false };
  const stopListening = bell.listen(eventId, () => {
    rung = true;
    wake?.();
  });
  const stop = (): void => {
    reader.gone = true;
    stopListening();
    standing?.release();
    wake?.();
  };
  options.signal.addEventListener("abort", stop, { once: true });
  standing?.ended.addEventListener("abort", stop, { once: true });
  if (options.signal.aborted || standing?.ended.aborted === true) stop();
  /** Whether the event is over though nothing after the last entry says so: its end has a number that was another's before. */
  const hasEndedUnseen = async (): Promise<boolean> => {
    if (options.forgets !== true || eventId === undefined || finished) return false;
    try {
      const stored = await store.getEvent(tenant, eventId, { payload: false, log: false });
      // Whoever comes again is told so.
      if (stored === undefined) throw new TransporterError("EVENT_NOT_FOUND", `event ${eventId} is not there any more`);
      return isTerminal(stored.delivery.state);
    } catch (error) {
      stop();
      throw error;
    }
  };
  const waitForBell = (): Promise<void> =>
    new Promise((resolve) => {
      const timer = ports.timers.after(KEEP_ALIVE_MS, () => wake?.(), { background: true });
      wake = () => {
        wake = undefined;
        timer.cancel();
        resolve();
      };
    });
  const note = (entry: LogEntry): void => {
    if (entry.revision < revision) return;
    // Tried again while it was followed: it goes on with that.
    if (entry.revision > revision) finished = false;
    ({ revision } = entry);
    if (isTerminal(entry.state)) finished = true;
  };
  /** What there is to be told, and how far that goes: what is not for whoever follows is passed over. */
  const look = async (): Promise<LogEntry[]> => {
    try {
      const entries = await store.logAfter({ tenant, ...(eventId === undefined ? {} : { eventId }), afterSeq, limit: BATCH });
      if (entries.length === BATCH) rung = true;
      afterSeq = entries.at(-1)?.seq ?? afterSeq;
      if (sees === undefined) return entries;
      const seen: LogEntry[] = [];
      for (const entry of entries) {
        const isSeen = sees(entry);
        if (isSeen instanceof Promise ? await isSeen : isSeen) seen.push(entry);
      }
      return seen;
    } catch (error) {
      // The stream breaks off with this, and nobody cancels what is broken.
      stop();
      throw error;
    }
  };
  const told = async (entries: readonly LogEntry[]): Promise<string> => {
    const { tell } = options;
    if (tell === undefined) return entries.map((entry) => frame(entry, JSON.stringify(entry))).join("");
    try {
      return (await Promise.all(entries.map(async (entry) => frame(entry, await tell(entry))))).join("");
    } catch (error) {
      stop();
      throw error;
    }
  };
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        controller.enqueue(encoder.encode(": follow\n\n"));
      },
      // Called again whenever the reader has room; one call must enqueue something or end.
      async pull(controller) {
        while (!reader.gone && !options.isStopping()) {
          if (rung) {
            rung = false;
            const entries = await look();
            // They may have ended while it was looked up.
            if (reader.gone) break;
            if (entries.length > 0) {
              toldAtMs = ports.clock.monotonic();
              if (eventId !== undefined) for (const entry of entries) note(entry);
              quiet = false;
              controller.enqueue(encoder.encode(await told(entries)));
              return;
            }
          }
          if (quiet || ports.clock.monotonic() - toldAtMs >= KEEP_ALIVE_MS) {
            quiet = false;
            toldAtMs = ports.clock.monotonic();
            if (await hasEndedUnseen()) {
              afterSeq = 0;
              rung = true;
              continue;
            }
            controller.enqueue(encoder.encode(": still here\n\n"));
            return;
          }
          if (finished) {
            controller.enqueue(encoder.encode("event: end\ndata: {}\n\n"));
            stop();
            controller.close();
            return;
          }
          if (!rung) await waitForBell();
          // Nobody rang: looked at once more where the store may have forgotten something.
          if (!rung && !reader.gone) {
            quiet = true;
            rung = options.forgets === true;
          }
        }
        stop();
        try {
          controller.close();
        } catch {
          // The reader went away first; there is nobody left to tell.
        }
      },
      cancel: stop,
    },
    new CountQueuingStrategy({ highWaterMark: 1 }),
  );
}
