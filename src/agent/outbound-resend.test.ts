import { describe, expect, test } from "bun:test";
import { manualPorts, type ManualPorts, silentLogger } from "../kit/mod.ts";
import { RETRY_DEFAULTS } from "../protocol/mod.ts";
import type { Work } from "./delivery.ts";
import { MemoryLedger } from "./ledger.ts";
import { Outbound, OUTBOUND_LIMITS } from "./outbound.ts";
import type { Agreement } from "./registration.ts";
import type { Status } from "./status.ts";

const MODERN: Agreement = { protocol: 2, acknowledges: true, features: new Set(["ack"]) };

function work(eventId: string): Work {
  return {
    eventId,
    revision: 1,
    type: "k8s_resource",
    priority: 0,
    deadlineMs: 1000,
    verifyTimeoutMs: 1000,
    forceConflicts: false,
    retry: RETRY_DEFAULTS,
    traceparent: undefined,
    fault: undefined,
  };
}
function step(message: string): Status {
  return { state: "in_progress", phase: "applying", message, level: "info" };
}

interface Rig {
  readonly outbound: Outbound;
  readonly time: ManualPorts;
  /** `boot:seq` of each frame sent, and what it was counted as. */
  readonly sent: string[];
  readonly nths: number[];
  readonly rounds: number[];
  buffered: number;
}

function rig(): Rig {
  const time = manualPorts();
  const one = { time, sent: [] as string[], nths: [] as number[], rounds: [] as number[], buffered: 0 };
  const outbound = new Outbound({
    agentId: "a",
    bootId: "now",
    ledger: new MemoryLedger(),
    ports: time.ports,
    log: silentLogger,
    send(text) {
      const frame = JSON.parse(text) as { boot_id: string; seq: number; nth: number; round?: number };
      one.sent.push(`${frame.boot_id}:${frame.seq}`);
      one.nths.push(frame.nth);
      one.rounds.push(frame.round ?? 0);
      return true;
    },
    bufferedBytes: () => one.buffered,
    onLedgerFailing: () => undefined,
  });
  return Object.assign(one, { outbound });
}

describe("statuses that get lost on the way", () => {
  const report = (one: Rig, count: number): void => {
    for (let at = 0; at < count; at += 1) one.outbound.report("k", work("e"), step(`s${at}`));
  };

  test("are counted on each connection from 0 without a gap, whatever was left out or acknowledged", async () => {
    const one = rig();
    one.outbound.attach(MODERN);
    report(one, 3);
    one.outbound.acknowledged("now", 2);
    report(one, 1);
    expect(one.nths).toEqual([0, 1, 2, 3]);
    one.outbound.detach();
    one.outbound.attach(MODERN);
    report(one, 1);
    expect(one.sent.slice(4)).toEqual(["now:3", "now:4", "now:5"]);
    expect(one.nths.slice(4)).toEqual([0, 1, 2]);
  });

  test("are all sent again, counted from 0, when the other side asks for it", () => {
    const one = rig();
    one.outbound.attach(MODERN);
    report(one, 3);
    one.outbound.acknowledged("now", 1);
    one.outbound.resend();
    expect(one.sent.slice(3)).toEqual(["now:2", "now:3"]);
    expect(one.nths.slice(3)).toEqual([0, 1]);
    one.outbound.resend();
    one.outbound.attach(MODERN);
    // So that what comes late from before is not taken for what is sent now.
    expect(one.rounds).toEqual([0, 0, 0, 1, 1, 2, 2, 0, 0]);
    expect(one.outbound.unacknowledged).toBe(2);
  });

  test("are sent again after 30 s without an acknowledgement, and not while there are some", async () => {
    const one = rig();
    one.outbound.attach(MODERN);
    report(one, 2);
    await one.time.advance(20_000);
    one.outbound.acknowledged("now", 1);
    report(one, 1);
    await one.time.advance(9_000);
    expect(one.sent).toHaveLength(3);
    one.outbound.acknowledged("now", 2);
    // The third is 9 s old.
    await one.time.advance(20_000);
    expect(one.sent).toHaveLength(3);
    await one.time.advance(2_000);
    expect(one.sent.slice(3)).toEqual(["now:3"]);
    expect(one.nths.slice(3)).toEqual([0]);
    await one.time.advance(30_000);
    expect(one.sent).toHaveLength(5);
    one.outbound.acknowledged("now", 3);
    await one.time.advance(120_000);
    expect(one.sent).toHaveLength(5);
    expect(one.time.pending).toBe(0);
  });

  test("are not sent again to nobody: without a link no time counts", async () => {
    const one = rig();
    one.outbound.attach(MODERN);
    report(one, 1);
    one.outbound.detach();
    await one.time.advance(120_000);
    expect(one.sent).toHaveLength(1);
  });

  test("a window's worth goes again, not all that waits", () => {
    const one = rig();
    one.outbound.attach(MODERN);
    report(one, OUTBOUND_LIMITS.windowFrames + 50);
    one.outbound.resend();
    expect(one.sent).toHaveLength(2 * OUTBOUND_LIMITS.windowFrames);
    one.outbound.acknowledged("now", OUTBOUND_LIMITS.windowFrames);
    expect(one.outbound.unacknowledged).toBe(50);
    expect(one.sent).toHaveLength(2 * OUTBOUND_LIMITS.windowFrames + 50);
  });
});

describe("a socket that does not empty", () => {
  test("is given no more statuses until it does, so that an acknowledgement need not wait behind them", async () => {
    const one = rig();
    one.outbound.attach(MODERN);
    one.buffered = OUTBOUND_LIMITS.socketBytes + 1;
    one.outbound.report("k", work("e"), step("one"));
    one.outbound.report("k", work("e"), step("two"));
    await one.time.advance(1_000);
    expect(one.sent).toEqual([]);
    one.buffered = 0;
    await one.time.advance(OUTBOUND_LIMITS.socketLookMs);
    expect(one.sent).toEqual(["now:1", "now:2"]);
    expect(one.nths).toEqual([0, 1]);
  });
});
