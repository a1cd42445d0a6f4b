import type { ServerWebSocket } from "bun";

export interface SendOptions {
  readonly urgent?: boolean;
}

/** What the control plane asks of one agent's socket: three methods, so that a test or the simulation needs no server. */
export interface Peer {
  readonly remoteAddress: string;
  /** It has not taken yet what it was sent: whoever has much to send waits until it has. */
  readonly congested: boolean;
  /**
   * Hands a text frame over. `urgent` ones overtake those that still wait and keep their order among each other: acknowledgements must not
   * queue behind data. False: the peer takes too little, nothing was queued, and the connection is being closed.
   */
  send(text: string, options?: SendOptions): boolean;
  close(code: number, reason: string): void;
}

export interface PeerLimits {
  /** How many bytes may wait for a slow peer before it is closed; at least one frame always fits. */
  readonly maxQueuedBytes: number;
  /** Closes the peer that fell too far behind. */
  readonly tooSlowCode: number;
}

/** Urgent frames are small, so this is thousands of them; whoever takes none of them for so long takes nothing. */
const MAX_URGENT_BYTES = 1024 * 1024;

/** Frames in the order they came, with their size. */
class Queue {
  #frames: string[] = [];
  #first = 0;
  bytes = 0;

  get empty(): boolean {
    return this.#first === this.#frames.length;
  }

  push(text: string): void {
    this.#frames.push(text);
    this.bytes += text.length;
  }

  shift(): string | undefined {
    const next = this.#frames[this.#first];
    if (next === undefined) return undefined;
    // The place is emptied at once: the frame may be large, and the list is cut only when all of it went.
    this.#frames[this.#first] = "";
    this.#first += 1;
    this.bytes -= next.length;
    if (this.empty) {
      this.#frames = [];
      this.#first = 0;
    }
    return next;
  }
}

/**
 * Sends over a server socket of Bun's without ever losing a frame in silence. Bun drops what goes past its own buffer and answers 0,
 * and a frame sent after -1 can tear the connection down; so after -1 everything waits here until `drained`, bounded.
 */
export class BoundedPeer implements Peer {
  readonly remoteAddress: string;
  readonly #socket: ServerWebSocket<unknown>;
  readonly #limits: PeerLimits;
  // Made when first needed: most sockets never fall behind, and there may be many thousands.
  #urgent: Queue | undefined;
  #waiting: Queue | undefined;
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

  send(text: string, options?: SendOptions): boolean {
    if (this.#closed) return false;
    if (!this.#blocked) return this.#write(text);
    const urgent = options?.urgent === true;
    const queue = urgent ? (this.#urgent ??= new Queue()) : (this.#waiting ??= new Queue());
    if (!queue.empty && queue.bytes + text.length > (urgent ? MAX_URGENT_BYTES : this.#limits.maxQueuedBytes)) {
      this.close(this.#limits.tooSlowCode, "too slow");
      return false;
    }
    queue.push(text);
    return true;
  }

  /** To be called from the server's `drain` handler. Bun calls it whenever some of what waits was taken; only when all was is there room. */
  drained(): void {
    if (this.#socket.getBufferedAmount() > 0) return;
    this.#blocked = false;
    while (!this.#blocked && !this.#closed) {
      const next = this.#urgent?.shift() ?? this.#waiting?.shift();
      if (next === undefined) return;
      this.#write(next);
    }
  }

  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.closed();
    this.#socket.close(code, reason);
  }

  /** To be called from the server's `close` handler. */
  closed(): void {
    this.#closed = true;
    this.#urgent = undefined;
    this.#waiting = undefined;
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
