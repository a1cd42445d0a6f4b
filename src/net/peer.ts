import type { ServerWebSocket } from "bun";

/** What the control plane asks of one agent's socket: three methods, so that a test or the simulation needs no server. */
export interface Peer {
  readonly remoteAddress: string;
  /** It has not taken yet what it was sent: whoever has much to send waits until it has. */
  readonly congested: boolean;
  /** Hands a text frame over. False: the peer takes too little, nothing was queued, and the connection is being closed. */
  send(text: string): boolean;
  close(code: number, reason: string): void;
}

export interface PeerLimits {
  /** How many bytes may wait for a slow peer before it is closed; at least one frame always fits. */
  readonly maxQueuedBytes: number;
  /** Closes the peer that fell too far behind. */
  readonly tooSlowCode: number;
}

/**
 * Sends over a server socket of Bun's without ever losing a frame in silence. Bun drops what goes past its own buffer and answers 0,
 * and a frame sent after -1 can tear the connection down; so after -1 everything waits here until `drained`, bounded.
 */
export class BoundedPeer implements Peer {
  readonly remoteAddress: string;
  readonly #socket: ServerWebSocket<unknown>;
  readonly #limits: PeerLimits;
  #waiting: string[] | undefined;
  #waitingBytes = 0;
  #blocked = false;
  #closed = false;

  constructor(socket: ServerWebSocket<unknown>, limits: PeerLimits) {
    this.#socket = socket;
    this.#limits = limits;
    this.remoteAddress = socket.remoteAddress;
  }

  get congested(): boolean {
    return this.#blocked;
  }

  send(text: string): boolean {
    if (this.#closed) return false;
    if (!this.#blocked) return this.#write(text);
    if (this.#waitingBytes > 0 && this.#waitingBytes + text.length > this.#limits.maxQueuedBytes) {
      this.close(this.#limits.tooSlowCode, "too slow");
      return false;
    }
    this.#waiting ??= [];
    this.#waiting.push(text);
    this.#waitingBytes += text.length;
    return true;
  }

  /** To be called from the server's `drain` handler. Bun calls it whenever some of what waits was taken; only when all was is there room. */
  drained(): void {
    if (this.#socket.getBufferedAmount() > 0) return;
    this.#blocked = false;
    while (this.#waiting !== undefined && !this.#blocked && !this.#closed) {
      const next = this.#waiting.shift();
      if (next === undefined) {
        this.#waiting = undefined;
        return;
      }
      this.#waitingBytes -= next.length;
      this.#write(next);
    }
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting = undefined;
    this.#waitingBytes = 0;
    this.#socket.close(code, reason);
  }

  /** To be called from the server's `close` handler. */
  closed(): void {
    this.#closed = true;
    this.#waiting = undefined;
    this.#waitingBytes = 0;
  }

  #write(text: string): boolean {
    const sent = this.#socket.sendText(text);
    if (sent === 0) {
      // The socket is gone or its buffer is full: whatever was in flight is sent again on the next connection.
      this.close(this.#limits.tooSlowCode, "too slow");
      return false;
    }
    if (sent === -1) this.#blocked = true;
    return true;
  }
}
