import { describe, expect, test } from "bun:test";
import { LIMITS } from "../../src/protocol/mod.ts";
import type { EncodedPayload, Store } from "../../src/stores/mod.ts";
import { newEvent, sha256, statusOf, T0, TENANT, textOf } from "../support/store-inputs.ts";
import type { Subject } from "./store.ts";

const PIECE = LIMITS.payloadPieceBytes;
const ALL = { payload: true, log: true } as const;

/** Bytes that no two payloads share, and whose order can be told. */
function encodedPayload(name: string, encodedBytes: number): EncodedPayload {
  const encoded = new Uint8Array(encodedBytes);
  let state = Bun.hash.crc32(name);
  for (let at = 0; at < encodedBytes; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    encoded[at] = state >>> 24;
  }
  return { digest: sha256(name), bytes: encodedBytes * 3, encoding: "zstd", encoded };
}

function eventWith(payload: EncodedPayload, id: string, agentId = "agent-1") {
  return {
    ...newEvent({ id, agentId, state: "assigned" }),
    payloadText: undefined,
    payloadDigest: payload.digest,
    payloadBytes: payload.bytes,
  };
}

async function fetched(store: Store, payload: EncodedPayload): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (let offset = 0; offset < payload.encoded.byteLength; offset += PIECE) {
    const piece = await store.payloadPiece(payload.digest, offset);
    if (piece === undefined) throw new Error(`no piece at ${offset}`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

export function payloadContract(subject: Subject): void {
  describe("payloads apart", () => {
    test("come back piece by piece as they were given, and an event says where its payload lies", async () => {
      const payload = encodedPayload("large", PIECE * 9 + 17);
      await subject.store.savePayload(payload);
      const input = eventWith(payload, "refers");
      expect(await subject.store.createEvent(input)).toMatchObject({ kind: "created", delivery: { payloadBytes: payload.bytes } });
      const store = await subject.reopenIfDurable();
      const apart = { digest: payload.digest, bytes: payload.bytes, encoding: "zstd", encoded_bytes: payload.encoded.byteLength };
      expect((await store.getEvent(TENANT, "refers", ALL))?.payload).toEqual({ apart: apart as never });
      expect(Buffer.from(await fetched(store, payload)).equals(payload.encoded)).toBe(true);
      expect((await store.payloadPiece(payload.digest, PIECE * 9))?.byteLength).toBe(17);
      for (const offset of [PIECE * 10, 1, PIECE - 1, -PIECE, Number.NaN, 1e15])
        expect(await store.payloadPiece(payload.digest, offset)).toBeUndefined();
      expect(await store.payloadPiece(sha256("other"), 0)).toBeUndefined();
    });

    test("an event whose payload is not there is a conflict, and leaves nothing behind", async () => {
      const { store } = subject;
      const payload = encodedPayload("absent", PIECE);
      expect(await store.createEvent(eventWith(payload, "early"))).toEqual({ kind: "conflict" });
      expect(await store.getEvent(TENANT, "early", ALL)).toBeUndefined();
      await store.savePayload(payload);
      expect((await store.createEvent(eventWith(payload, "early"))).kind).toBe("created");
      expect(await store.createEvent(eventWith(payload, "early"))).toEqual({ kind: "duplicate", state: "assigned" });
      expect(await store.createEvent({ ...eventWith(payload, "early"), contentDigest: sha256("else") })).toEqual({ kind: "conflict" });
    });

    test("a half-written one is not there for anybody, and is gone on with", async () => {
      if (!subject.durable) return;
      const payload = encodedPayload("half", PIECE * 40);
      // Cut off by a close in the middle.
      void subject.store.savePayload(payload).catch(() => undefined);
      const first = subject.store.payloadPiece(payload.digest, 0);
      const event = subject.store.createEvent(eventWith(payload, "half"));
      expect(await first).toBeUndefined();
      expect(await event).toEqual({ kind: "conflict" });
      const store = await subject.reopen();
      expect(await store.payloadPiece(payload.digest, 0)).toBeUndefined();
      await store.savePayload(payload);
      expect(Buffer.from(await fetched(store, payload)).equals(payload.encoded)).toBe(true);
    });

    test("what another encoder left half written is begun anew", async () => {
      if (!subject.durable) return;
      const payload = encodedPayload("encoders", PIECE * 40);
      const other = encodedPayload("of another version", PIECE * 39);
      void subject.store.savePayload({ ...payload, encoded: other.encoded }).catch(() => undefined);
      await subject.store.payloadPiece(payload.digest, 0);
      const store = await subject.reopen();
      await store.savePayload(payload);
      expect(Buffer.from(await fetched(store, payload)).equals(payload.encoded)).toBe(true);
      expect(await store.payloadPiece(payload.digest, PIECE * 40)).toBeUndefined();
    });

    test("the same again, and many at once, change nothing", async () => {
      const { store } = subject;
      const payload = encodedPayload("same", PIECE * 5);
      await Promise.all(Array.from({ length: 8 }, () => store.savePayload(payload)));
      await store.savePayload(payload);
      expect(Buffer.from(await fetched(store, payload)).equals(payload.encoded)).toBe(true);
    });

    test("one of a single small piece, and one that ends at a piece's end", async () => {
      for (const bytes of [1, PIECE, PIECE * 4, PIECE * 8]) {
        const payload = encodedPayload(`of ${bytes}`, bytes);
        await subject.store.savePayload(payload);
        expect(Buffer.from(await fetched(subject.store, payload)).equals(payload.encoded)).toBe(true);
      }
    });

    test("does not count as inline bytes when it is handed out", async () => {
      const { store } = subject;
      const payload = encodedPayload("huge", PIECE * 2);
      await store.savePayload(payload);
      for (const id of ["a", "b", "c"]) await store.createEvent({ ...eventWith(payload, id), state: "queued" });
      await store.createEvent(newEvent({ id: "d" }));
      const items = await store.openDeliveries({
        tenant: TENANT,
        agentId: "agent-1",
        states: ["queued"],
        skip: new Set(),
        order: "urgent",
        nowMs: T0,
        maxItems: 10,
        maxBytes: 1000,
      });
      expect(items.map((item) => ("apart" in item.payload ? item.payload.apart.digest : textOf(item.payload)?.slice(0, 5)))).toEqual([
        payload.digest,
        payload.digest,
        payload.digest,
        '{"man',
      ]);
    });

    test("what comes meanwhile is not held up", async () => {
      const { store } = subject;
      const payload = encodedPayload("thirty-two", 32 * 1024 * 1024);
      const saved = store.savePayload(payload).then(() => "saved" as const);
      let meanwhile = 0;
      while ((await Promise.race([saved, store.createEvent(newEvent({ id: `meanwhile-${meanwhile}` }))])) !== "saved") meanwhile += 1;
      expect(meanwhile).toBeGreaterThan(32);
    });

    test("retention leaves it as long as an event refers to it, or may come to", async () => {
      const { store } = subject;
      const payload = encodedPayload("swept", PIECE * 3);
      await store.savePayload(payload);
      const input = eventWith(payload, "gone");
      await store.createEvent(input);
      await store.applyStatus(statusOf(input, "completed", { nowMs: T0 }));
      expect(await store.sweep({ finishedBeforeMs: T0 + 1, auditBeforeMs: 0, limit: 100 })).toEqual({ events: 1, audit: 0, documents: 0 });
      // It was saved just now: whoever saved it may be about to refer to it.
      expect((await store.createEvent(eventWith(payload, "next"))).kind).toBe("created");
      expect(Buffer.from(await fetched(store, payload)).equals(payload.encoded)).toBe(true);
    });
  });
}
