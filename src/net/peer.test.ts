import { describe, expect, test } from "bun:test";
import type { ServerWebSocket } from "bun";
import { BoundedPeer } from "./peer.ts";

/** A socket that takes what fits: `room` frames, then everything waits until the test lets it take more. */
function aSocket(room: number) {
  const sent: string[] = [];
  const state = { room, buffered: 0, closed: undefined as number | undefined };
  const socket = {
    remoteAddress: "127.0.0.1",
    sendText(text: string): number {
      sent.push(text);
      state.room -= 1;
      if (state.room > 0) return text.length;
      state.buffered = text.length;
      return -1;
    },
    getBufferedAmount: () => state.buffered,
    close(code: number) {
      state.closed = code;
    },
  } as unknown as ServerWebSocket<unknown>;
  return { socket, sent, state };
}

describe("BoundedPeer", () => {
  test("what is urgent overtakes what waits and keeps its own order", () => {
    const { socket, sent, state } = aSocket(1);
    const peer = new BoundedPeer(socket, { maxQueuedBytes: 1000, tooSlowCode: 4004 });
    for (const text of ["data 1", "data 2", "data 3"]) expect(peer.send(text)).toBe(true);
    expect(peer.send("ack 1", { urgent: true })).toBe(true);
    expect(peer.send("ack 2", { urgent: true })).toBe(true);
    expect(sent).toEqual(["data 1"]);
    expect(peer.congested).toBe(true);
    // Some of it was taken, not all: still no room.
    peer.drained();
    expect(sent).toEqual(["data 1"]);
    state.buffered = 0;
    state.room = 3;
    peer.drained();
    expect(sent).toEqual(["data 1", "ack 1", "ack 2", "data 2"]);
    expect(peer.congested).toBe(true);
    state.buffered = 0;
    state.room = 100;
    peer.drained();
    expect(sent.slice(4)).toEqual(["data 3"]);
    expect(peer.congested).toBe(false);
    expect(peer.send("data 4")).toBe(true);
    expect(sent.at(-1)).toBe("data 4");
  });

  test("whoever falls too far behind is sent away, with data or with acknowledgements alone", () => {
    for (const [urgent, size] of [
      [false, 400],
      [true, 400_000],
    ] as const) {
      const { socket, sent, state } = aSocket(1);
      const peer = new BoundedPeer(socket, { maxQueuedBytes: 1000, tooSlowCode: 4004 });
      peer.send("first");
      const answers = [1, 2, 3].map(() => peer.send("x".repeat(size), { urgent }));
      expect(answers).toEqual([true, true, false]);
      expect(state.closed).toBe(4004);
      expect(sent).toEqual(["first"]);
      expect(peer.send("late")).toBe(false);
    }
  });

  test("one frame always fits, however large", () => {
    const { socket, sent, state } = aSocket(1);
    const peer = new BoundedPeer(socket, { maxQueuedBytes: 10, tooSlowCode: 4004 });
    peer.send("first");
    expect(peer.send("x".repeat(100))).toBe(true);
    state.buffered = 0;
    state.room = 10;
    peer.drained();
    expect(sent[1]).toHaveLength(100);
  });
});
