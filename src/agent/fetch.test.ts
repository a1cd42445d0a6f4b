import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { manualPorts, type ManualPorts, silentLogger, systemPorts, TransporterError } from "../kit/mod.ts";
import { LIMITS, type PayloadRef } from "../protocol/mod.ts";
import { decodeFrame, type Delivery, type Work } from "./delivery.ts";
import { Fetch, FETCH_LIMITS } from "./fetch.ts";
import { MemoryLedger } from "./ledger.ts";
import { createParsing } from "./off-loop.ts";

const PIECE = LIMITS.payloadPieceBytes;

interface Payload {
  readonly ref: PayloadRef;
  readonly encoded: Uint8Array;
}

/** Text that does not get smaller, so that it has as many pieces as it has bytes. */
function noise(bytes: number, seed: number): string {
  let state = seed;
  const out = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    out[at] = state >>> 24;
  }
  return out.toString("base64");
}

function payload(content: unknown): Payload {
  const text = JSON.stringify(content);
  const encoded = zstdCompressSync(text);
  const digest = createHash("sha256").update(text).digest("hex");
  return { ref: { digest, bytes: Buffer.byteLength(text), encoding: "zstd", encoded_bytes: encoded.byteLength }, encoded };
}
const big = payload({ manifests: [noise(300_000, 1)], force_conflicts: true, verify_timeout: "5s" });

function delivery(id: string, ref: PayloadRef): Delivery & { readonly payload: PayloadRef } {
  const event = { id, type: "k8s_resource", target_agent: "a", payload: {} };
  const decoded = decodeFrame(JSON.stringify({ type: "event", event, revision: 1, payload: ref }));
  if (decoded.kind !== "event" || decoded.delivery.payload === undefined) throw new Error("no event with its payload apart");
  return { ...decoded.delivery, payload: decoded.delivery.payload };
}

class Ledger extends MemoryLedger {
  failures = 0;
  saved = 0;
  override payloadRoomBytes = Number.POSITIVE_INFINITY;
  override savePiece(...args: Parameters<MemoryLedger["savePiece"]>): Promise<void> {
    if (this.failures === 0) {
      this.saved += 1;
      return super.savePiece(...args);
    }
    this.failures -= 1;
    return Promise.reject(new TransporterError("STORE_FULL", "the disk of the ledger is full"));
  }
}

interface Rig {
  fetch: Fetch;
  readonly time: ManualPorts;
  readonly ledger: Ledger;
  /** `DIGEST@OFFSET` with four characters of the digest, and how each delivery ended. */
  readonly asked: string[];
  readonly ends: string[];
  readonly works: Map<string, Work>;
  readonly open: Set<string>;
  link: boolean;
  ledgerFailures: number;
  want(id: string, ref?: PayloadRef): Promise<void>;
  /** Answers the newest question that was asked of this payload. */
  answer(of?: Payload, change?: (data: string) => string | null): Promise<void>;
  /** Answers until nobody asks any more. */
  serve(...of: readonly Payload[]): Promise<void>;
  restart(): void;
}

function rig(): Rig {
  const time = manualPorts();
  const ids = new Map<string, string>();
  const idOf = (key: string): string => ids.get(key) ?? "?";
  const make = (): Fetch =>
    new Fetch({
      ledger: one.ledger,
      parsing: createParsing(time.ports.timers, Number.POSITIVE_INFINITY),
      ports: time.ports,
      log: silentLogger,
      send(text) {
        if (!one.link) return false;
        const { type, digest, offset } = JSON.parse(text) as { type: string; digest: string; offset: number };
        expect(type).toBe("payload_get");
        one.asked.push(`${digest.slice(0, 4)}@${offset}`);
        return true;
      },
      wanted: (key) => one.open.has(key),
      arrived(key, work) {
        one.ends.push(`arrived ${idOf(key)}`);
        one.works.set(idOf(key), work);
      },
      failed: (key, error) => void one.ends.push(`failed ${idOf(key)} ${error.code}`),
      onLedgerFailing: () => (one.ledgerFailures += 1),
    });
  const one: Rig = {
    time,
    ledger: new Ledger(),
    asked: [],
    ends: [],
    works: new Map(),
    open: new Set(),
    link: true,
    ledgerFailures: 0,
    fetch: undefined as unknown as Fetch,
    async want(id, ref = big.ref) {
      const made = delivery(id, ref);
      ids.set(made.key, id);
      one.open.add(made.key);
      await one.ledger.record({ delivery: made, receivedAtMs: 0, expiresAtMs: undefined });
      one.fetch.want(made.key, made.work, made.payload);
      await time.settle();
    },
    async answer(of = big, change = (data) => data) {
      const short = of.ref.digest.slice(0, 4);
      const offset = Number(one.asked.findLast((question) => question.startsWith(short))?.split("@")[1]);
      const data = Buffer.from(of.encoded.subarray(offset, offset + PIECE)).toString("base64");
      one.fetch.piece({ kind: "piece", digest: of.ref.digest, offset, data: change(data) });
      await time.settle();
      // What zlib refuses comes back a turn later under the test runner.
      await new Promise<void>((resolve) => systemPorts.timers.soon(resolve));
      await time.settle();
    },
    async serve(...of) {
      const served = of.length === 0 ? [big] : of;
      for (let quiet = false; !quiet;) {
        const before = one.asked.length;
        for (const each of served) await one.answer(each);
        quiet = one.asked.length === before;
      }
    },
    restart() {
      one.fetch.stop();
      one.fetch = make();
    },
  };
  one.fetch = make();
  return one;
}

const short = (of: Payload): string => of.ref.digest.slice(0, 4);

describe("a payload that is fetched", () => {
  test("comes piece by piece, the next asked for when the last is kept, and says what the work lacked", async () => {
    const one = rig();
    await one.want("e");
    await one.answer();
    expect(one.ledger.saved).toBe(1);
    await one.serve();
    const offsets = Array.from({ length: Math.ceil(big.encoded.byteLength / PIECE) }, (_, at) => `${short(big)}@${at * PIECE}`);
    expect(offsets.length).toBeGreaterThan(2);
    expect(one.asked).toEqual(offsets);
    expect(one.ends).toEqual(["arrived e"]);
    expect(one.works.get("e")).toMatchObject({ forceConflicts: true, verifyTimeoutMs: 5_000 });
    expect(one.time.pending).toBe(0);
  });

  test("is asked for again after 10 s without an answer, and at once on a new link, where it goes on; what comes twice counts once", async () => {
    const one = rig();
    await one.want("e");
    await one.answer();
    await one.time.advance(FETCH_LIMITS.answerMs);
    expect(one.asked.slice(1)).toEqual([`${short(big)}@${PIECE}`, `${short(big)}@${PIECE}`]);
    one.link = false;
    await one.time.advance(3 * FETCH_LIMITS.answerMs);
    expect(one.asked).toHaveLength(3);
    one.link = true;
    one.fetch.attach();
    expect(one.asked).toHaveLength(4);
    await one.answer();
    // The answer to the question of before.
    one.fetch.piece({ kind: "piece", digest: big.ref.digest, offset: PIECE, data: "AAAA" });
    await one.serve();
    expect(one.ends).toEqual(["arrived e"]);
    expect(one.ledger.saved).toBe(Math.ceil(big.encoded.byteLength / PIECE));
  });

  test("over a slow link is not asked for again and again while the answer is on its way", async () => {
    const one = rig();
    await one.want("e");
    await one.time.advance(17_000);
    expect(one.asked).toHaveLength(2);
    await one.answer();
    await one.time.advance(50_000);
    expect(one.asked).toHaveLength(3);
    await one.time.advance(2_000);
    expect(one.asked).toHaveLength(4);
    await one.answer();
    // However slow, once a minute.
    await one.time.advance(2 * FETCH_LIMITS.answerMaxMs);
    expect(one.asked).toHaveLength(7);
    await one.answer();
    await one.serve();
    expect(one.ends).toEqual(["arrived e"]);
  });

  test("after a restart goes on where it stopped", async () => {
    const one = rig();
    await one.want("e");
    await one.answer();
    await one.answer();
    one.restart();
    await one.time.settle();
    one.asked.length = 0;
    await one.want("e");
    expect(one.asked).toEqual([`${short(big)}@${2 * PIECE}`]);
    await one.serve();
    expect(one.ends).toEqual(["arrived e"]);
  });

  test("is fetched once for all who need it, also for those who come when it is there", async () => {
    const one = rig();
    await one.want("a");
    await one.answer();
    await one.want("b");
    await one.serve();
    expect(one.ends).toEqual(["arrived a", "arrived b"]);
    const questions = one.asked.length;
    await one.want("c");
    expect(one.asked).toHaveLength(questions);
    expect(one.ends).toEqual(["arrived a", "arrived b", "arrived c"]);
    expect(one.works.get("c")?.verifyTimeoutMs).toBe(5_000);
  });

  test.each([
    ["other bytes", (data: string) => `AAAA${data.slice(4)}`],
    ["fewer bytes", (data: string) => data.slice(0, 400)],
    ["nothing", () => ""],
  ])("that comes with %s starts over, and is given up after the third time", async (_what, change) => {
    const one = rig();
    await one.want("e");
    await one.answer(big, change);
    await one.serve();
    expect(one.ends).toEqual(["arrived e"]);
    const two = rig();
    await two.want("e");
    for (let at = 0; at < 50 && two.ends.length === 0; at += 1) await two.answer(big, change);
    expect(two.ends).toEqual(["failed e PAYLOAD_LOST"]);
    expect(two.asked.filter((question) => question.endsWith("@0"))).toHaveLength(FETCH_LIMITS.attempts);
    expect(await two.ledger.payload(big.ref.digest)).toMatchObject({ bytes: 0 });
  });

  test("that is larger or smaller than announced is not taken, however well it decodes", async () => {
    for (const bytes of [big.ref.bytes - 1, big.ref.bytes + 1, 1]) {
      const lied = { ...big, ref: { ...big.ref, bytes } };
      const one = rig();
      await one.want("e", lied.ref);
      for (let at = 0; at < 50 && one.ends.length === 0; at += 1) await one.answer(lied);
      expect(one.ends).toEqual(["failed e PAYLOAD_LOST"]);
    }
  });

  test("that is gone fails the event, one that is no payload too", async () => {
    const one = rig();
    await one.want("e");
    await one.answer(big, () => null);
    expect(one.ends).toEqual(["failed e PAYLOAD_LOST"]);
    const wrong = payload({ manifests: "not an array" });
    await one.want("f", wrong.ref);
    await one.serve(wrong);
    expect(one.ends[1]).toBe("failed f INVALID_EVENT");
  });

  test("nobody needs any more is not fetched on, and leaves nothing behind", async () => {
    const one = rig();
    await one.want("e");
    await one.answer();
    one.open.clear();
    await one.answer();
    await one.time.advance(FETCH_LIMITS.answerMs);
    const questions = one.asked.length;
    await one.time.advance(10 * FETCH_LIMITS.answerMs);
    expect(one.asked).toHaveLength(questions);
    expect(one.ends).toEqual([]);
    expect(one.time.pending).toBe(0);
  });

  test("that the ledger does not take waits until it does; the piece is not asked for again", async () => {
    const one = rig();
    await one.want("e");
    one.ledger.failures = 3;
    await one.answer();
    expect(one.ledgerFailures).toBe(1);
    expect(one.asked).toHaveLength(1);
    await one.time.advance(20_000);
    expect(one.asked).toEqual([`${short(big)}@0`, `${short(big)}@${PIECE}`, `${short(big)}@${PIECE}`]);
    await one.serve();
    expect(one.ends).toEqual(["arrived e"]);
  });
});

describe("several payloads", () => {
  const others = [2, 3, 4].map((seed) => payload({ manifests: [noise(200_000, seed)] }));
  const [second, third, fourth] = others as [Payload, Payload, Payload];

  test("are fetched two at a time, in the order they came; one that waits is asked after when its event comes again", async () => {
    const one = rig();
    await one.want("a");
    for (const [at, other] of others.entries()) await one.want(`o${at}`, other.ref);
    expect(one.asked).toEqual([`${short(big)}@0`, `${short(second)}@0`]);
    one.fetch.nudge(delivery("o1", third.ref).key);
    one.fetch.nudge(delivery("a", big.ref).key);
    expect(one.asked.slice(2)).toEqual([`${short(third)}@0`]);
    // Its answer is not awaited.
    await one.answer(third);
    expect(one.ledger.saved).toBe(0);
    await one.serve(big, ...others);
    expect(one.ends.toSorted()).toEqual(["arrived a", "arrived o0", "arrived o1", "arrived o2"]);
  });

  test("where there is little room wait for it in their order, and one that could never have it fails", async () => {
    const one = rig();
    one.ledger.payloadRoomBytes = second.ref.encoded_bytes * 2 + 10;
    await one.want("a", second.ref);
    await one.want("b", third.ref);
    await one.want("c", fourth.ref);
    await one.want("d", big.ref);
    await one.serve(second, third, fourth);
    expect(one.ends).toEqual(["arrived a", "arrived b"]);
    const huge = payload({ manifests: [noise(600_000, 9)] });
    await one.want("huge", huge.ref);
    expect(one.ends[2]).toBe("failed huge STORE_FULL");
    one.open.delete(delivery("a", second.ref).key);
    await one.time.advance(FETCH_LIMITS.roomLookMs);
    await one.serve(fourth);
    expect(one.ends[3]).toBe("arrived c");
    one.open.delete(delivery("b", third.ref).key);
    one.open.delete(delivery("c", fourth.ref).key);
    await one.time.advance(FETCH_LIMITS.roomLookMs);
    await one.serve();
    expect(one.ends[4]).toBe("arrived d");
  });
});
