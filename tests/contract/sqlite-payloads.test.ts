import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { silentLogger, systemPorts } from "../../src/kit/mod.ts";
import { LIMITS } from "../../src/protocol/mod.ts";
import { closeGiven } from "../../src/sqlite/mod.ts";
import { type EncodedPayload, openStore } from "../../src/stores/mod.ts";
import { HOUR_MS, newEvent, sha256, statusOf, T0 } from "../support/store-inputs.ts";

function encoded(name: string, pieces: number): EncodedPayload {
  return {
    digest: sha256(name),
    bytes: 1,
    encoding: "zstd",
    encoded: new Uint8Array(pieces * LIMITS.payloadPieceBytes).fill(pieces),
  };
}

/** A store whose clock stands where the test sets it, and a look at what lies in its tables. */
async function place() {
  const database = new Database(":memory:");
  const at = { nowMs: T0 };
  const clock = { ...systemPorts.clock, now: () => at.nowMs };
  const store = await openStore("memory:", { ports: { clock, timers: systemPorts.timers }, log: silentLogger, database });
  return {
    at,
    store,
    pieces: () => database.query<{ n: number }, []>("SELECT count(*) AS n FROM apart_piece").get()?.n,
    sweep: (limit = 1000) => store.sweep({ finishedBeforeMs: at.nowMs, auditBeforeMs: 0, limit }),
    async [Symbol.asyncDispose]() {
      await store.close();
      closeGiven(database);
    },
  };
}

const refer = (payload: EncodedPayload, id: string) => ({
  ...newEvent({ id, state: "assigned" }),
  payloadText: undefined,
  payloadDigest: payload.digest,
  payloadBytes: payload.bytes,
});

describe("payloads in pieces", () => {
  test("one that no event came to refer to is removed an hour later, and what came half as well", async () => {
    await using where = await place();
    const { at, store } = where;
    const [orphan, kept] = [encoded("orphan", 70), encoded("kept", 3)];
    await store.savePayload(orphan);
    await store.savePayload(kept);
    await store.createEvent(refer(kept, "kept"));
    at.nowMs = T0 + HOUR_MS - 1;
    await where.sweep();
    expect(where.pieces()).toBe(73);
    at.nowMs = T0 + HOUR_MS;
    await where.sweep();
    expect(where.pieces()).toBe(3);
    expect(await store.payloadPiece(orphan.digest, 0)).toBeUndefined();
    expect(await store.payloadPiece(kept.digest, 0)).toBeDefined();
    await store.savePayload(orphan);
    expect((await store.createEvent(refer(orphan, "back"))).kind).toBe("created");
  });

  test("saving it again lets it be kept an hour more", async () => {
    await using where = await place();
    const { at, store } = where;
    const payload = encoded("again", 2);
    await store.savePayload(payload);
    at.nowMs = T0 + HOUR_MS - 1;
    await store.savePayload(payload);
    at.nowMs = T0 + HOUR_MS + 1;
    await where.sweep();
    expect((await store.createEvent(refer(payload, "late"))).kind).toBe("created");
  });

  test("it goes with the last event that refers to it", async () => {
    await using where = await place();
    const { at, store } = where;
    const payload = encoded("shared", 5);
    await store.savePayload(payload);
    for (const id of ["one", "two"]) await store.createEvent(refer(payload, id));
    await store.applyStatus(statusOf(refer(payload, "one"), "completed", { nowMs: T0 }));
    at.nowMs = T0 + 2 * HOUR_MS;
    expect((await where.sweep()).events).toBe(1);
    expect(where.pieces()).toBe(5);
    await store.applyStatus(statusOf(refer(payload, "two"), "completed", { nowMs: T0 + HOUR_MS }));
    expect((await where.sweep()).events).toBe(1);
    expect(where.pieces()).toBe(0);
  });

  test("one whose removal was cut short is not there, and comes back whole when it is saved again", async () => {
    await using where = await place();
    const { at, store } = where;
    const payload = encoded("cut", 40);
    await store.savePayload(payload);
    at.nowMs = T0 + 2 * HOUR_MS;
    await where.sweep(1);
    expect(where.pieces()).toBe(24);
    expect(await store.payloadPiece(payload.digest, 0)).toBeUndefined();
    expect(await store.createEvent(refer(payload, "cut"))).toEqual({ kind: "conflict" });
    await store.savePayload(payload);
    for (let offset = 0; offset < payload.encoded.byteLength; offset += LIMITS.payloadPieceBytes)
      expect((await store.payloadPiece(payload.digest, offset))?.[0]).toBe(40);
    expect(where.pieces()).toBe(40);
  });
});
