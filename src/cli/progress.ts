import type { TimerHandle, Timers } from "../kit/mod.ts";
import { type LogEntry, formatDurationMs, isTerminal, parseTimestampMs } from "../protocol/mod.ts";
import { type Host, wantsColor } from "./host.ts";
import { type Paint, clip, painter, safeLine } from "./text.ts";

const CLEAR_LINE = "\r\u001b[2K";

/** What an entry is about, in one word: the agent's phase, or what the control plane did. */
export function stepOf(entry: LogEntry): string {
  return isTerminal(entry.state) || entry.phase === "" ? entry.state : entry.phase;
}

function markOf(entry: LogEntry, paint: Paint): string {
  if (entry.state === "completed") return paint("green", "✔");
  if (isTerminal(entry.state) || entry.level === "error") return paint("red", "✘");
  if (entry.level === "warning") return paint("yellow", "!");
  return paint("green", "✔");
}

/** By the entries' own times: they may have been told long after. Undefined where the clocks of those who wrote them disagree. */
function between(entry: LogEntry, next: LogEntry): number | undefined {
  const fromMs = parseTimestampMs(entry.timestamp);
  const toMs = parseTimestampMs(next.timestamp);
  return fromMs === undefined || toMs === undefined || toMs < fromMs ? undefined : toMs - fromMs;
}

/**
 * Shows the way of an event on standard error. On a terminal the step that is going on stands on the last line, with the time it has
 * taken so far, and is redrawn; elsewhere every entry is one line.
 */
export class Progress {
  readonly #host: Host;
  readonly #timers: Timers;
  readonly #live: boolean;
  readonly #paint: Paint;
  readonly #monotonic: () => number;
  #current: { readonly entry: LogEntry; readonly sinceMs: number } | undefined;
  #notice: string | undefined;
  #ticker: TimerHandle | undefined;

  constructor(host: Host, timers: Timers, monotonic: () => number) {
    this.#host = host;
    this.#timers = timers;
    this.#monotonic = monotonic;
    this.#live = host.err.isTerminal && host.env["TERM"] !== "dumb";
    this.#paint = painter(wantsColor(host.err, host.env));
  }

  entry(entry: LogEntry): void {
    if (!this.#live) {
      const atMs = parseTimestampMs(entry.timestamp);
      const time = atMs === undefined ? "" : `${new Date(atMs).toISOString().slice(11, 19)}  `;
      this.#host.err.write(`${time}${stepOf(entry).padEnd(11)} ${safeLine(entry.message)}\n`);
      return;
    }
    this.#settle(entry);
    if (isTerminal(entry.state)) {
      this.#host.err.write(`${this.#line(markOf(entry, this.#paint), entry, "")}\n`);
      return;
    }
    this.#current = { entry, sinceMs: this.#monotonic() };
    this.#ticker ??= this.#timers.every(200, () => this.#draw(), { background: true });
    this.#draw();
  }

  /** Says that the connection is being waited for (or, with undefined, that it is back). */
  interruption(notice: string | undefined): void {
    this.#notice = notice;
    if (!this.#live) {
      if (notice !== undefined) this.#host.err.write(`${safeLine(notice)}\n`);
      return;
    }
    if (this.#current === undefined) this.#host.err.write(notice === undefined ? CLEAR_LINE : `${CLEAR_LINE}${this.#noticeLine(notice)}`);
    else this.#draw();
  }

  /** Leaves the screen in order; safe to call often. */
  stop(): void {
    if (this.#live && this.#current === undefined && this.#notice !== undefined) this.#host.err.write(CLEAR_LINE);
    this.#settle();
    this.#ticker?.cancel();
    this.#ticker = undefined;
  }

  #settle(next?: LogEntry): void {
    if (!this.#live) return;
    const current = this.#current;
    this.#current = undefined;
    if (current === undefined) return;
    const tookMs = (next === undefined ? undefined : between(current.entry, next)) ?? this.#monotonic() - current.sinceMs;
    const took = tookMs < 1 ? "" : formatDurationMs(tookMs);
    this.#host.err.write(`${CLEAR_LINE}${this.#line(markOf(current.entry, this.#paint), current.entry, took)}\n`);
  }

  #draw(): void {
    const current = this.#current;
    if (current === undefined) return;
    const elapsedMs = this.#monotonic() - current.sinceMs;
    const took = elapsedMs < 1000 ? "" : `${Math.floor(elapsedMs / 1000)}s`;
    const line = this.#notice === undefined ? this.#line(this.#paint("cyan", "…"), current.entry, took) : this.#noticeLine(this.#notice);
    this.#host.err.write(`${CLEAR_LINE}${line}`);
  }

  #noticeLine(notice: string): string {
    return clip(`… ${safeLine(notice)}`, this.#room());
  }

  #room(): number {
    return this.#host.err.columns() - 1;
  }

  #line(mark: string, entry: LogEntry, took: string): string {
    const tail = took === "" ? "" : `  ${took}`;
    const text = clip(`${stepOf(entry).padEnd(11)} ${safeLine(entry.message)}`, this.#room() - 2 - tail.length);
    return `${mark} ${text}${tail === "" ? "" : this.#paint("dim", tail)}`;
  }
}
