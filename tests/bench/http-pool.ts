import type { Socket } from "bun";

interface Waiting {
  readonly resolve: (status: number) => void;
  readonly reject: (error: Error) => void;
}

interface Connection {
  readonly socket: Socket;
  received: string;
  waiting: Waiting | undefined;
  closed: boolean;
}

/**
 * POSTs over kept-alive connections with as little work as can be, so that the load does not measure itself: about a tenth of what
 * `fetch` costs. One request at a time on each connection; who finds none free opens one more.
 */
export class HttpPool {
  readonly #hostname: string;
  readonly #port: number;
  readonly #head: string;
  readonly #open = new Set<Connection>();
  #free: Connection[] = [];

  readonly #tls: { readonly ca: string } | undefined;

  /** `secure`: over TLS, and who sends. */
  constructor(url: string, path: string, secure?: { readonly ca: string; readonly token: string }) {
    const { host, hostname, port } = new URL(url);
    this.#hostname = hostname;
    this.#port = Number(port);
    this.#head = `POST ${path} HTTP/1.1\r\nhost: ${host}\r\nuser-agent: transporter-bench\r\naccept: */*\r\ncontent-type: application/json\r\n${secure === undefined ? "" : `authorization: Bearer ${secure.token}\r\n`}content-length: `;
    this.#tls = secure === undefined ? undefined : { ca: secure.ca };
  }

  /** Opens this many ahead of the first request. */
  async warm(connections: number): Promise<void> {
    while (this.#free.length < connections) this.#free.push(await this.#connect());
  }

  /** Answers the status code. `body` must be ASCII: its length is taken for its bytes. */
  async post(body: string): Promise<number> {
    let connection = this.#free.pop();
    // The server ends connections that were idle for long.
    while (connection?.closed === true) connection = this.#free.pop();
    connection ??= await this.#connect();
    const answer = Promise.withResolvers<number>();
    connection.waiting = answer;
    const request = `${this.#head}${body.length}\r\n\r\n${body}`;
    const written = connection.socket.write(request);
    if (written !== request.length) throw new Error(`only ${written} of ${request.length} bytes of a request were taken`);
    const status = await answer.promise;
    this.#free.push(connection);
    return status;
  }

  close(): void {
    for (const { socket } of this.#open) socket.end();
    this.#free = [];
  }

  async #connect(): Promise<Connection> {
    let connection: Connection | undefined;
    // Over TLS nothing can be written before.
    const shaken = Promise.withResolvers<void>();
    if (this.#tls === undefined) shaken.resolve();
    const socket = await Bun.connect({
      hostname: this.#hostname,
      port: this.#port,
      ...(this.#tls === undefined ? {} : { tls: this.#tls }),
      socket: {
        data: (_socket, chunk) => {
          if (connection !== undefined) take(connection, chunk);
        },
        close: () => {
          if (connection === undefined) return;
          connection.closed = true;
          this.#open.delete(connection);
          connection.waiting?.reject(new Error("the server closed a connection in the middle of a request"));
        },
        handshake: (_socket, success, error) => {
          if (success) shaken.resolve();
          else shaken.reject(error ?? new Error("the handshake failed"));
        },
        error: (_socket, error) => connection?.waiting?.reject(error),
      },
    });
    await shaken.promise;
    socket.setNoDelay(true);
    connection = { socket, received: "", waiting: undefined, closed: false };
    this.#open.add(connection);
    return connection;
  }
}

function take(connection: Connection, chunk: Buffer): void {
  connection.received += chunk.toString("latin1");
  const headEnd = connection.received.indexOf("\r\n\r\n");
  if (headEnd < 0) return;
  const length = /content-length: (\d+)/i.exec(connection.received)?.[1];
  if (length === undefined) {
    connection.waiting?.reject(new Error(`an answer without a length: ${connection.received.slice(0, 200)}`));
    return;
  }
  if (connection.received.length < headEnd + 4 + Number(length)) return;
  const status = Number(connection.received.slice(9, 12));
  const { waiting } = connection;
  connection.received = "";
  connection.waiting = undefined;
  waiting?.resolve(status);
}
