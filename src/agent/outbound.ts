import { Backoff, failpoint, type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import { formatTimestamp, isTerminal } from "../protocol/mod.ts";
import type { Work } from "./delivery.ts";
import type { Ledger } from "./ledger.ts";
import type { Agreement } from "./registration.ts";
import { fitStatus, type Status, type StatusRecord, statusFrame } from "./status.ts";

export const OUTBOUND_LIMITS = {
  /** Sent and not acknowledged; more waits here. */
  windowFrames: 256,
  windowBytes: 4 * 1024 * 1024,
  /** Above either, what lies between the first and the last word about an event is left out. */
  heldRecords: 2_000,
  heldBytes: 16 * 1024 * 1024,
  /** No more than this (and one status) lies in the socket, so that an acknowledgement handed over after it leaves soon. */
  socketBytes: 128 * 1024,
  /** How soon it is looked at again; a client's socket does not say when it is empty. */
  socketLookMs: 20,
  /** Sent and not acknowledged for this long on a link that stands: something was lost on the way, and all is sent again. */
  patienceMs: 30_000,
  /** What need not be durable at once is written together; most of it is acknowledged before, and never written. */
  saveAfterMs: 100,
  saveAgainMs: 1_000,
} as const;

export interface OutboundOptions {
  readonly agentId: string;
  readonly bootId: string;
  readonly ledger: Ledger;
  readonly ports: Ports;
  readonly log: Logger;
  /** Hands a frame to the link; false when there is none. */
  readonly send: (text: string) => boolean;
  /** Bytes that the link was handed and that have not left. */
  readonly bufferedBytes: () => number;
  /** The ledger could not be written; said each time. */
  readonly onLedgerFailing: () => void;
}

interface Held {
  readonly record: StatusRecord;
  readonly key: string;
  readonly bytes: number;
  readonly terminal: boolean;
  /** A last status is sent only once the ledger has it: else a crash would carry the event out again after the end was told. */
  ready: boolean;
  sent: boolean;
  /** By the monotonic clock. */
  sentAt: number;
  /** Whether the ledger was given it. */
  saved: boolean;
  /** No longer held. */
  gone: boolean;
}

/**
 * What the control plane is told. Every status gets the next sequence number of this boot and is kept until acknowledged; after each
 * reconnect all that is not is sent again in its old order, older boots first, with its own numbers. Statuses leave strictly in order,
 * because an acknowledgement covers all numbers up to its own; on each connection they are counted without a gap, so that the other side sees
 * when one is lost and asks for all of them. Under pressure words between the first and last of an event are left
 * out; the last never is. A 0.1 control plane acknowledges nothing: there, handed over counts as told.
 */
export class Outbound {
  readonly #options: OutboundOptions;
  #held: Held[] = [];
  #heldBytes = 0;
  #seq = 0;
  #agreement: Agreement | undefined;
  #windowFrames = 0;
  #windowBytes = 0;
  /** How many were sent on this connection, or since it was asked to begin again. */
  #nth = 0;
  /** How often counting began anew on this connection: what was sent before must not be taken for what is sent now. */
  #round = -1;
  #patience: TimerHandle | undefined;
  #socketLook: TimerHandle | undefined;
  #ledgerFailing = false;
  /** Not in the ledger yet, in order. */
  #unsaved: Held[] = [];
  /** Acknowledged and still in the ledger: the highest number of each boot. */
  readonly #unforgotten = new Map<string, number>();
  #saving: TimerHandle | undefined;
  readonly #stopped = new AbortController();
  #idle: (() => void)[] = [];

  constructor(options: OutboundOptions) {
    this.#options = options;
  }

  /** Statuses that the control plane has not acknowledged. */
  get unacknowledged(): number {
    return this.#held.length;
  }

  /** What earlier boots could not tell; to be called before anything is reported. */
  restore(records: readonly StatusRecord[]): void {
    for (const record of records) this.#hold({ record, key: record.eventId, terminal: isTerminal(record.state), ready: true, saved: true });
  }

  /** A registered link stands: everything that is not acknowledged goes (again). */
  attach(agreement: Agreement): void {
    this.#agreement = agreement;
    this.#round = -1;
    this.resend();
  }

  detach(): void {
    this.#agreement = undefined;
    this.#patience?.cancel();
    this.#patience = undefined;
    this.#socketLook?.cancel();
    this.#socketLook = undefined;
  }

  /** A frame was lost: everything that is not acknowledged goes again, counted from 0. */
  resend(): void {
    this.#windowFrames = 0;
    this.#windowBytes = 0;
    this.#nth = 0;
    this.#round += 1;
    for (const held of this.#held) held.sent = false;
    this.#pump();
  }

  /** Deliveries whose end the control plane does not have yet. */
  *untoldEnds(): Iterable<{ readonly eventId: string; readonly revision: number }> {
    for (const { terminal, record } of this.#held)
      if (terminal && record.revision !== undefined) yield { eventId: record.eventId, revision: record.revision };
  }

  /** Says how an event goes. The ledger gets it a little later, unless it is acknowledged by then: at worst a crash loses an entry of the log. */
  report(key: string, work: Work, status: Status): void {
    const record = this.#number(work, status);
    this.#saveLater(this.#hold({ record, key, terminal: false, ready: true, saved: false }));
    this.#relieve();
    this.#pump();
  }

  /** Says how an event ended. Resolves when the ledger has it, and tries until that or the stop; only then is it sent. */
  async finish(key: string, work: Work, status: Status): Promise<void> {
    const { ledger, ports } = this.#options;
    const record = this.#number(work, status);
    // What stands before it goes into the same commit, so that the ledger has them in order.
    this.#save();
    const held = this.#hold({ record, key, terminal: true, ready: false, saved: true });
    this.#relieve();
    const backoff = new Backoff({ firstMs: 500, maxMs: 15_000 }, ports.random);
    failpoint("agent.finish.before-ledger");
    for (;;) {
      try {
        await ledger.finish(key, work, record, ports.clock.now());
        break;
      } catch (error) {
        this.#ledgerFails(error);
        await ports.timers.sleep(backoff.next(), this.#stopped.signal);
      }
    }
    failpoint("agent.finish.after-ledger");
    this.#ledgerWorks();
    held.ready = true;
    this.#pump();
  }

  /** Tells the end of a finished event once more: it was handed over again. */
  repeat(key: string, work: Work, final: StatusRecord): void {
    const already = this.#held.some(
      (held) => held.terminal && (held.key === key || (held.record.bootId === final.bootId && held.record.seq === final.seq)),
    );
    if (already) return;
    const { bootId: _boot, seq: _seq, timestamp: _time, eventId: _event, revision: _revision, ...status } = final;
    const record = this.#number(work, status);
    this.#saveLater(this.#hold({ record, key, terminal: true, ready: true, saved: false }));
    this.#pump();
  }

  acknowledged(bootId: string, seq: number): void {
    const kept: Held[] = [];
    let any = false;
    for (const held of this.#held) {
      if (held.record.bootId !== bootId || held.record.seq > seq || !held.ready) {
        kept.push(held);
        continue;
      }
      any = true;
      held.gone = true;
      this.#heldBytes -= held.bytes;
      if (held.sent) this.#leaveWindow(held);
      if (held.saved) this.#unforgotten.set(bootId, Math.max(held.record.seq, this.#unforgotten.get(bootId) ?? 0));
    }
    if (!any) return;
    failpoint("agent.outbound.acknowledged");
    this.#held = kept;
    if (this.#unforgotten.size > 0) this.#armSaving();
    this.#pump();
    this.#settle();
  }

  /** Resolves when nothing is left to tell, or after `ms`, or at once when there is no link. */
  async flush(ms: number): Promise<void> {
    if (this.#held.length === 0 || this.#agreement === undefined) return;
    await new Promise<void>((resolve) => {
      const timer = this.#options.ports.timers.after(ms, resolve);
      this.#idle.push(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  /** Hands the ledger what it lacks, and gives up what still waits for it. */
  stop(): void {
    this.#save();
    this.detach();
    this.#stopped.abort(new Error("the agent is stopping"));
  }

  #number(work: Work, status: Status): StatusRecord {
    this.#seq += 1;
    return {
      ...fitStatus(status),
      bootId: this.#options.bootId,
      seq: this.#seq,
      eventId: work.eventId,
      revision: work.revision,
      timestamp: formatTimestamp(this.#options.ports.clock.now()),
    };
  }

  #saveLater(held: Held): void {
    this.#unsaved.push(held);
    this.#armSaving();
  }

  #armSaving(): void {
    this.#saving ??= this.#options.ports.timers.after(OUTBOUND_LIMITS.saveAfterMs, () => this.#save(), { background: true });
  }

  #save(): void {
    this.#saving?.cancel();
    this.#saving = undefined;
    const { ledger } = this.#options;
    for (const held of this.#unsaved.splice(0)) {
      if (held.gone) continue;
      held.saved = true;
      this.#watch(ledger.addStatus(held.record), () => {
        held.saved = false;
        if (!held.gone) this.#unsaved.push(held);
      });
    }
    for (const [bootId, seq] of this.#unforgotten)
      this.#watch(ledger.acknowledged(bootId, seq), () => this.#unforgotten.set(bootId, Math.max(seq, this.#unforgotten.get(bootId) ?? 0)));
    this.#unforgotten.clear();
  }

  /** What the ledger could not take is tried again a little later. */
  #watch(write: Promise<void>, again: () => void): void {
    write.then(
      () => this.#ledgerWorks(),
      (error: unknown) => {
        this.#ledgerFails(error);
        if (this.#stopped.signal.aborted) return;
        again();
        this.#saving ??= this.#options.ports.timers.after(OUTBOUND_LIMITS.saveAgainMs, () => this.#save(), { background: true });
      },
    );
  }

  #hold(entry: Omit<Held, "bytes" | "sent" | "sentAt" | "gone">): Held {
    const { record } = entry;
    // Close enough, without writing every status twice: only results are large.
    const bytes = 300 + record.message.length + (record.result === undefined ? 0 : JSON.stringify(record.result).length);
    const held: Held = { ...entry, bytes, sent: false, sentAt: 0, gone: false };
    this.#held.push(held);
    this.#heldBytes += bytes;
    return held;
  }

  #pump(): void {
    const agreement = this.#agreement;
    if (agreement === undefined) return;
    const told: Held[] = [];
    for (const held of this.#held) {
      if (held.sent) continue;
      if (!held.ready) break;
      if (agreement.acknowledges && this.#windowFrames > 0) {
        if (this.#windowFrames >= OUTBOUND_LIMITS.windowFrames || this.#windowBytes + held.bytes > OUTBOUND_LIMITS.windowBytes) break;
      }
      const silent = agreement.protocol < 2 && held.record.progress === true;
      if (!silent && !this.#send(held, agreement)) break;
      held.sent = true;
      if (agreement.acknowledges) {
        this.#windowFrames += 1;
        this.#windowBytes += held.bytes;
      } else {
        told.push(held);
      }
    }
    if (this.#windowFrames > 0) this.#armPatience();
    if (told.length > 0) {
      this.#drop(new Set(told));
      this.#settle();
    }
  }

  #send(held: Held, agreement: Agreement): boolean {
    const { send, bufferedBytes, agentId, ports } = this.#options;
    if (bufferedBytes() > OUTBOUND_LIMITS.socketBytes) {
      this.#socketLook ??= ports.timers.after(OUTBOUND_LIMITS.socketLookMs, () => {
        this.#socketLook = undefined;
        this.#pump();
      });
      return false;
    }
    if (!send(statusFrame(held.record, agentId, agreement, this.#nth, this.#round))) return false;
    this.#nth += 1;
    held.sentAt = ports.clock.monotonic();
    failpoint("agent.outbound.sent");
    return true;
  }

  /** Looks again when the oldest that is on its way has been so for too long. Only towards a control plane that acknowledges there is something on its way. */
  #armPatience(): void {
    if (this.#patience !== undefined || this.#agreement?.acknowledges !== true) return;
    const { log, ports } = this.#options;
    const oldest = this.#held.find((held) => held.sent);
    if (oldest === undefined) return;
    const leftMs = oldest.sentAt + OUTBOUND_LIMITS.patienceMs - ports.clock.monotonic();
    const look = (): void => {
      this.#patience = undefined;
      const first = this.#held.find((held) => held.sent);
      if (first !== undefined && first.sentAt + OUTBOUND_LIMITS.patienceMs <= ports.clock.monotonic()) {
        log.warn("Statuses are not acknowledged and are sent again", { statuses: this.#held.length });
        this.resend();
      } else this.#armPatience();
    };
    this.#patience = ports.timers.after(leftMs, look, { background: true });
  }

  #leaveWindow(held: Held): void {
    this.#windowFrames -= 1;
    this.#windowBytes -= held.bytes;
  }

  #drop(gone: ReadonlySet<Held>): void {
    this.#held = this.#held.filter((held) => !gone.has(held));
    for (const held of gone) {
      held.gone = true;
      this.#heldBytes -= held.bytes;
      if (held.sent && this.#agreement?.acknowledges === true) this.#leaveWindow(held);
    }
    const written = [...gone].filter((held) => held.saved).map((held) => held.record);
    if (written.length > 0) void this.#options.ledger.dropStatuses(written).catch((error: unknown) => this.#ledgerFails(error));
  }

  /** Leaves out, of each event, every status but the newest and the last. */
  #relieve(): void {
    if (this.#held.length <= OUTBOUND_LIMITS.heldRecords && this.#heldBytes <= OUTBOUND_LIMITS.heldBytes) return;
    const newest = new Map<string, Held>();
    for (const held of this.#held) newest.set(held.key, held);
    const gone = new Set(this.#held.filter((held) => !held.terminal && newest.get(held.key) !== held));
    if (gone.size === 0) return;
    this.#options.log.warn("Statuses between the first and the last of an event are left out", { statuses: gone.size });
    this.#drop(gone);
  }

  #settle(): void {
    if (this.#held.length > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }

  #ledgerFails(error: unknown): void {
    this.#options.onLedgerFailing();
    if (this.#ledgerFailing) return;
    this.#ledgerFailing = true;
    this.#options.log.error("The ledger cannot be written; what must be durable waits", { error: messageOf(error) });
  }

  #ledgerWorks(): void {
    if (!this.#ledgerFailing) return;
    this.#ledgerFailing = false;
    this.#options.log.info("The ledger can be written again");
  }
}
