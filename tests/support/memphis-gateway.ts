import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** One operation of the NATS protocol, as it passed. */
export interface Frame {
  readonly from: "client" | "server";
  readonly connection: number;
  readonly op: string;
  /** Words between the verb and the payload, lengths left out. */
  readonly args: readonly string[];
  readonly headers: Readonly<Record<string, readonly string[]>> | undefined;
  /** `NATS/1.0 408 Request Timeout` and the like; empty on a message. */
  readonly status: string;
  readonly payload: Buffer;
}

/** Whether a connection's CONNECT is let in. */
export type Admission = (connect: Readonly<Record<string, unknown>>) => boolean;

export interface Gateway extends AsyncDisposable {
  readonly port: number;
  readonly frames: Frame[];
  /** What a client publishes to such a subject gets lost on the way. */
  swallow: ((subject: string) => boolean) | undefined;
}

interface Operation {
  readonly op: string;
  readonly words: readonly string[];
  readonly head: Buffer | undefined;
  readonly payload: Buffer | undefined;
}

/** What a broker takes at most, headers included. The server behind has room for the header that is added on the way. */
export const MAX_PAYLOAD = 1_048_576;
const WITH_PAYLOAD = new Set(["PUB", "HPUB", "MSG", "HMSG"]);
const CRLF = Buffer.from("\r\n");

/** Cuts a stream of bytes into operations of the NATS protocol. */
class Reader {
  #rest: Buffer = Buffer.alloc(0);

  *read(chunk: Buffer): Generator<Operation> {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (;;) {
      const end = this.#rest.indexOf(CRLF);
      if (end === -1) return;
      const line = this.#rest.toString("utf8", 0, end);
      const op = (line.split(/\s/, 1)[0] ?? "").toUpperCase();
      if (!WITH_PAYLOAD.has(op)) {
        this.#rest = this.#rest.subarray(end + 2);
        yield { op, words: [line.slice(op.length).trim()], head: undefined, payload: undefined };
        continue;
      }
      const words = line.trim().split(/\s+/).slice(1);
      const total = Number(words.pop());
      const headLength = op.startsWith("H") ? Number(words.pop()) : 0;
      if (this.#rest.length < end + 2 + total + 2) return;
      const body = this.#rest.subarray(end + 2, end + 2 + total);
      this.#rest = this.#rest.subarray(end + 2 + total + 2);
      yield { op, words, head: headLength > 0 ? body.subarray(0, headLength) : undefined, payload: body.subarray(headLength) };
    }
  }
}

function bytesOf({ op, words, head, payload }: Operation): Buffer {
  if (payload === undefined) return Buffer.from(`${[op, ...words.filter((word) => word !== "")].join(" ")}\r\n`);
  const total = (head?.length ?? 0) + payload.length;
  const lengths = head === undefined ? [total] : [head.length, total];
  return Buffer.concat([Buffer.from(`${[op, ...words, ...lengths].join(" ")}\r\n`), head ?? Buffer.alloc(0), payload, CRLF]);
}

function linesOf(head: Buffer): string[] {
  return head
    .toString("utf8")
    .split("\r\n")
    .filter((line) => line !== "");
}

function withLines(head: Buffer, change: (line: string) => readonly string[]): Buffer {
  const [first = "", ...rest] = linesOf(head);
  return Buffer.from(`${[first, ...rest.flatMap(change)].join("\r\n")}\r\n\r\n`);
}

function headersOf(head: Buffer): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const line of linesOf(head).slice(1)) {
    const colon = line.indexOf(":");
    (found[line.slice(0, colon)] ??= []).push(line.slice(colon + 1).trim());
  }
  return found;
}

/** What Memphis does with the two headers, done on the way: it de-duplicates by `msg-id`, and `Nats-Msg-Id` means nothing to it. */
function towardsServer(operation: Operation): Operation {
  if (operation.op !== "HPUB" || operation.head === undefined) return operation;
  const head = withLines(operation.head, (line) => {
    if (/^nats-msg-id:/i.test(line)) return [`Kept-${line}`];
    const id = /^msg-id:\s?(.*)$/.exec(line)?.[1];
    return id === undefined ? [line] : [line, `Nats-Msg-Id: ${id}`];
  });
  return { ...operation, head };
}

function towardsClient(operation: Operation): Operation {
  if (operation.op === "INFO") {
    const info = {
      ...(JSON.parse(operation.words[0] ?? "{}") as Record<string, unknown>),
      server_name: "memphis-0",
      auth_required: true,
      max_payload: MAX_PAYLOAD,
    };
    return { ...operation, words: [JSON.stringify(info)] };
  }
  if (operation.op !== "HMSG" || operation.head === undefined) return operation;
  const head = withLines(operation.head, (line) => {
    if (/^nats-msg-id:/i.test(line)) return [];
    return [line.replace(/^Kept-/, "")];
  });
  return { ...operation, head };
}

/**
 * Stands before a plain nats-server and makes of it what a Memphis broker is on the wire: who is let in, which header de-duplicates, and
 * what it calls itself. Keeps every operation that passes when `record` is set.
 */
export async function startGateway(options: {
  readonly targetPort: number;
  readonly admits: Admission;
  readonly record: boolean;
}): Promise<Gateway> {
  const frames: Frame[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((client) => {
    connections += 1;
    const connection = connections;
    const upstream = connect(options.targetPort, "127.0.0.1");
    const note = (from: Frame["from"], { op, words, head, payload }: Operation): void => {
      if (!options.record) return;
      const json = op === "INFO" || op === "CONNECT";
      frames.push({
        from,
        connection,
        op,
        args: json ? [] : words,
        headers: head === undefined ? undefined : headersOf(head),
        status: (head === undefined ? "" : (linesOf(head)[0] ?? "")).replace(/^NATS\/1\.0$/, ""),
        payload: json ? Buffer.from(words[0] ?? "") : Buffer.from(payload ?? ""),
      });
    };
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    const [fromClient, fromServer] = [new Reader(), new Reader()];
    client.on("data", (chunk: Buffer) => {
      for (const operation of fromClient.read(chunk)) {
        note("client", operation);
        if (operation.op === "CONNECT") {
          const said = JSON.parse(operation.words[0] ?? "{}") as Record<string, unknown>;
          if (!options.admits(said)) {
            client.end("-ERR 'Authorization Violation'\r\n", () => upstream.destroy());
            return;
          }
          const { auth_token: _token, user: _user, pass: _pass, ...rest } = said;
          upstream.write(bytesOf({ ...operation, words: [JSON.stringify(rest)] }));
        } else if ((operation.head?.length ?? 0) + (operation.payload?.length ?? 0) > MAX_PAYLOAD)
          client.end("-ERR 'Maximum Payload Violation'\r\n", () => upstream.destroy());
        else if (operation.payload === undefined || gateway.swallow?.(operation.words[0] ?? "") !== true)
          upstream.write(bytesOf(towardsServer(operation)));
      }
    });
    upstream.on("data", (chunk: Buffer) => {
      for (const given of fromServer.read(chunk)) {
        const operation = towardsClient(given);
        note("server", operation);
        client.write(bytesOf(operation));
      }
    });
  });
  const listening = Promise.withResolvers<void>();
  server.once("error", listening.reject);
  server.listen(0, "127.0.0.1", listening.resolve);
  await listening.promise;
  const gateway: Gateway = {
    port: (server.address() as AddressInfo).port,
    frames,
    swallow: undefined,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => void server.close(() => resolve()));
    },
  };
  return gateway;
}
