import { connect, type Socket } from "node:net";

/** A WebSocket client on a bare socket, which can say what no library would. */
export interface RawSocket {
  readonly socket: Socket;
  readonly closed: Promise<void>;
}

export async function dialRaw(url: string): Promise<RawSocket> {
  const { hostname, port, host } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
  socket.write(
    `GET /ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  await Promise.race([new Promise<void>((resolve) => socket.once("data", () => resolve())), closed]);
  socket.resume();
  return { socket, closed };
}

export interface RawFrame {
  readonly fin: boolean;
  readonly rsv: number;
  readonly opcode: number;
  readonly masked: boolean;
  readonly payload: Uint8Array;
  /** What its head says of its length; the truth when absent. */
  readonly length?: number;
}

/** A mask of zeroes leaves the payload as it is. */
export function encodeFrame(frame: RawFrame): Buffer {
  const bytes = frame.length ?? frame.payload.length;
  const first = (frame.fin ? 0x80 : 0) | (frame.rsv << 4) | frame.opcode;
  const mask = frame.masked ? 0x80 : 0;
  let head: Buffer;
  if (bytes < 126) head = Buffer.from([first, mask | bytes]);
  else if (bytes < 65_536) head = Buffer.from([first, mask | 126, bytes >> 8, bytes & 0xff]);
  else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = mask | 127;
    head.writeBigUInt64BE(BigInt(bytes), 2);
  }
  return Buffer.concat([head, frame.masked ? Buffer.alloc(4) : Buffer.alloc(0), frame.payload]);
}
