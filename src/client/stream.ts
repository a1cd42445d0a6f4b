import { Backoff, type Random, TransporterError, messageOf } from "../kit/mod.ts";
import { type LogEntry, LogEntrySchema } from "../protocol/mod.ts";
import * as v from "valibot";
import { SseParser } from "./sse.ts";
import { type Transport, follow, isPassing } from "./transport.ts";

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** Begin after this sequence number, as an earlier stream left off. */
  readonly afterSeq?: number | undefined;
  /** Waits out failures of the very first connection too; later ones always are. */
  readonly patient?: boolean | undefined;
  /** Told at each connection, before its entries: from here on nothing is missed. */
  readonly onOpen?: (() => void) | undefined;
  /** Told when the stream broke and will be taken up again, and when it is there again (undefined). */
  readonly onInterruption?: ((why: TransporterError | undefined) => void) | undefined;
}

/** The control plane sends a comment every 5 s: silent for four of them, the link is dead even if nobody said so. */
const SILENCE_MS = 20_000;

interface StreamCall {
  readonly path: string;
  readonly what: string;
}

/**
 * Entries of a live stream, each exactly once and in order, over any number of broken connections: it goes on after the last entry it
 * gave. Ends when the control plane says that nothing more will come. Throws what the control plane refuses with (EVENT_NOT_FOUND), and
 * CP_UNREACHABLE only where it never was reachable.
 */
export async function* streamEntries(
  transport: Transport,
  random: Random,
  call: StreamCall,
  options: StreamOptions,
): AsyncGenerator<LogEntry> {
  const backoff = new Backoff({ firstMs: 250, maxMs: 5000 }, random);
  let lastSeq = options.afterSeq;
  let wasThere = options.patient === true;
  let interrupted = false;
  for (;;) {
    const connection = new AbortController();
    const forget = follow(options.signal, connection);
    let silence = transport.timers.after(SILENCE_MS, () => undefined);
    const listen = (): void => {
      silence.cancel();
      silence = transport.timers.after(SILENCE_MS, () =>
        connection.abort(new TransporterError("CP_UNREACHABLE", `the stream of ${transport.baseUrl} fell silent`)),
      );
    };
    try {
      listen();
      const body = await transport.open({
        method: "GET",
        path: call.path,
        what: call.what,
        accept: "text/event-stream",
        signal: connection.signal,
        headers: lastSeq === undefined ? {} : { "last-event-id": String(lastSeq) },
      });
      wasThere = true;
      options.onOpen?.();
      if (interrupted) options.onInterruption?.(undefined);
      interrupted = false;
      const parser = new SseParser();
      const decoder = new TextDecoder();
      const reader = body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        listen();
        for (const message of parser.push(decoder.decode(value, { stream: true }))) {
          if (message.event === "end") return;
          const entry = entryOf(message.event, message.data);
          if (entry === undefined || (lastSeq !== undefined && entry.seq <= lastSeq)) continue;
          lastSeq = entry.seq;
          backoff.reset();
          yield entry;
        }
      }
      throw new TransporterError("CP_UNREACHABLE", `${transport.baseUrl} ended the stream`);
    } catch (error) {
      if (options.signal?.aborted === true) throw options.signal.reason;
      const fault = connection.signal.aborted ? (connection.signal.reason as unknown) : error;
      const passing = fault instanceof TransporterError ? isPassing(fault) : true;
      if (!passing || !wasThere) throw fault;
      if (!interrupted)
        options.onInterruption?.(
          fault instanceof TransporterError ? fault : new TransporterError("CP_UNREACHABLE", messageOf(fault), { cause: fault }),
        );
      interrupted = true;
    } finally {
      silence.cancel();
      forget();
      connection.abort(new Error("the stream is no longer read"));
    }
    await transport.timers.sleep(backoff.next(), options.signal);
  }
}

function entryOf(event: string, data: string): LogEntry | undefined {
  if (event !== "status" && event !== "message") return undefined;
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    throw new TransporterError("CP_ANSWER", "an entry of the stream is not JSON");
  }
  const parsed = v.safeParse(LogEntrySchema, value);
  // A state or phase that only a newer control plane knows must not end a watch.
  return parsed.success ? parsed.output : undefined;
}
