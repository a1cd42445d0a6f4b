import { connect } from "node:net";
import { REGISTRATION_0_1 } from "./wire-agent.ts";

export interface SlowAgent extends AsyncDisposable {
  receivedBytes(): number;
  /** Whether the control plane has hung up. */
  closed(): boolean;
}

const PAUSE_MS = 2;

/** An agent on a bare socket that registers and then reads slowly, a piece at a time. */
export async function dialSlowAgent(wsUrl: string, registration: Record<string, unknown>): Promise<SlowAgent> {
  const { hostname, port, host } = new URL(wsUrl);
  const socket = connect(Number(port), hostname);
  const ended = Promise.withResolvers<void>();
  let received = 0;
  let closed = false;
  socket.on("error", () => undefined);
  socket.on("close", () => {
    closed = true;
    ended.resolve();
  });
  socket.write(
    `GET /ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  await new Promise<void>((resolve) => socket.once("data", () => resolve()));
  socket.on("data", (piece) => {
    received += piece.length;
    socket.pause();
    setTimeout(() => socket.resume(), PAUSE_MS);
  });
  const body = Buffer.from(JSON.stringify({ ...REGISTRATION_0_1, ...registration }));
  // One masked text frame of 126 to 65,535 bytes; a mask of zeroes leaves the text as it is.
  socket.write(Buffer.concat([Buffer.from([0x81, 0xfe, body.length >> 8, body.length & 0xff, 0, 0, 0, 0]), body]));
  return {
    receivedBytes: () => received,
    closed: () => closed,
    async [Symbol.asyncDispose]() {
      socket.destroy();
      await ended.promise;
    },
  };
}
