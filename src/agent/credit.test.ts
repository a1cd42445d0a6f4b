import { describe, expect, test } from "bun:test";
import { manualPorts, type ManualPorts, silentLogger, TransporterError } from "../kit/mod.ts";
import { CREDIT_LIMITS, CreditLine } from "./credit.ts";

const KNOWN = { creditKnown: true };
const HOLD = { deliveries: 3, bytes: 10_000 };

interface Rig {
  readonly credit: CreditLine;
  readonly time: ManualPorts;
  readonly said: string[];
  readonly held: Set<string>;
  disk: "works" | "full";
  link: boolean;
}

function rig(hold = HOLD): Rig {
  const time = manualPorts();
  const one = { time, said: [] as string[], held: new Set<string>(), disk: "works" as Rig["disk"], link: true };
  const credit = new CreditLine({
    hold,
    ledger: {
      probe: () => (one.disk === "works" ? Promise.resolve() : Promise.reject(new TransporterError("STORE_FULL", "the disk is full"))),
    },
    ports: time.ports,
    log: silentLogger,
    holds: (key) => one.held.has(key),
    send(text) {
      if (one.link) one.said.push(text);
      return one.link;
    },
  });
  return Object.assign(one, { credit });
}

function take(one: Rig, key: string, chars = 100): boolean {
  const taken = one.credit.take(key, chars, KNOWN);
  if (taken) one.held.add(key);
  return taken;
}

const NONE = '{"type":"credit","deliveries":0,"bytes":0}';
const FULL = '{"type":"credit","deliveries":3,"bytes":10000}';

describe("what the agent takes on", () => {
  test("is no more than so many at once; what has ended makes room", () => {
    const one = rig();
    expect(["a", "b", "c", "d", "a"].map((key) => take(one, key))).toEqual([true, true, true, false, true]);
    one.held.delete("b");
    expect(take(one, "d")).toBe(true);
    expect(take(one, "e")).toBe(false);
  });

  test("is no more than so many bytes, but one of any size when there is nothing else", () => {
    const one = rig();
    expect(take(one, "huge", 1_000_000)).toBe(true);
    expect(take(one, "small", 1)).toBe(false);
    one.held.clear();
    expect(take(one, "a", 6_000)).toBe(true);
    expect(take(one, "b", 6_000)).toBe(false);
    expect(take(one, "c", 1_000)).toBe(true);
  });

  test("of a control plane that knows no credit is more, since it cannot know when to stop", () => {
    const one = rig({ deliveries: 3, bytes: 1024 * 1024 * 1024 });
    let taken = 0;
    for (let at = 0; at < 2 * CREDIT_LIMITS.deliveriesUnasked; at += 1) {
      one.held.add(`k${at}`);
      if (one.credit.take(`k${at}`, 1, { creditKnown: false })) taken += 1;
    }
    expect(taken).toBe(CREDIT_LIMITS.deliveriesUnasked);
  });

  test("before a restart has its room, whatever the bounds are now", () => {
    const one = rig();
    for (let at = 0; at < 10; at += 1) {
      one.held.add(`k${at}`);
      expect(one.credit.take(`k${at}`, 0, { creditKnown: true, recovered: true })).toBe(true);
    }
    expect(take(one, "new")).toBe(false);
    for (let at = 0; at < 8; at += 1) one.held.delete(`k${at}`);
    expect(take(one, "new")).toBe(true);
  });
});

describe("what the control plane is told", () => {
  test("nothing where the registration said it already", async () => {
    const one = rig();
    one.credit.attach(one.credit.current);
    await one.time.advance(60_000);
    expect(one.said).toEqual([]);
  });

  test("0 at once when the ledger cannot be written, all again when it was felt that it can; each once", async () => {
    const one = rig();
    one.credit.attach(one.credit.current);
    one.disk = "full";
    one.credit.ledgerFailing();
    one.credit.ledgerFailing();
    expect(one.said).toEqual([NONE]);
    expect(one.credit.current).toEqual({ deliveries: 0, bytes: 0 });
    await one.time.advance(60_000);
    expect(one.said).toEqual([NONE]);
    one.disk = "works";
    await one.time.advance(CREDIT_LIMITS.probeMs + CREDIT_LIMITS.announceAfterMs);
    expect(one.said).toEqual([NONE, FULL]);
    await one.time.advance(60_000);
    expect(one.said).toHaveLength(2);
    expect(one.time.pending).toBe(0);
  });

  test("what changed while there was no link, or between the registration and its answer", async () => {
    const one = rig();
    const registered = one.credit.current;
    one.link = false;
    one.disk = "full";
    one.credit.ledgerFailing();
    one.link = true;
    one.credit.attach(registered);
    expect(one.said).toEqual([NONE]);
    one.credit.detach();
    one.link = false;
    one.disk = "works";
    await one.time.advance(CREDIT_LIMITS.probeMs + CREDIT_LIMITS.announceAfterMs);
    one.link = true;
    one.credit.attach({ deliveries: 0, bytes: 0 });
    await one.time.advance(CREDIT_LIMITS.announceAfterMs);
    expect(one.said).toEqual([NONE, FULL]);
  });

  test("again, when more comes than it may send", async () => {
    const one = rig();
    one.credit.attach(one.credit.current);
    for (const key of ["a", "b", "c", "d", "e"]) take(one, key);
    await one.time.advance(CREDIT_LIMITS.announceAfterMs);
    expect(one.said).toEqual([FULL]);
  });

  test("0 at the end", async () => {
    const one = rig();
    one.credit.attach(one.credit.current);
    one.credit.ledgerFailing();
    one.credit.stop();
    await one.time.advance(60_000);
    expect(one.said).toEqual([NONE]);
    expect(one.time.pending).toBe(0);
  });
});
