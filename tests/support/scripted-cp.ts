import { createHash } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import type { ServerWebSocket } from "bun";
import { FEATURES, LIMITS, type PayloadRef } from "../../src/protocol/mod.ts";
import { eventually } from "./eventually.ts";

type Json = Record<string, unknown>;

export interface ScriptedConnection {
  readonly registration: Json;
  /** What the agent sent after its registration, in order, as text. */
  readonly texts: string[];
  readonly closed: { readonly code: number; readonly reason: string } | undefined;
  send(frame: Json | string): void;
  close(code: number, reason: string): void;
  /** Drops it without a word. */
  terminate(): void;
}

export interface ScriptedCp extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
  readonly connections: readonly ScriptedConnection[];
  /** Whether statuses are acknowledged as they come; protocol 2 only. */
  acknowledging: boolean;
  /** The reply to the next registrations; undefined for the ordinary one. `null` for none at all. */
  reply: string | null | undefined;
  /** Answers upgrades with this status instead of taking them. */
  refusing: number | undefined;
  /** How often it did. */
  readonly refused: number;
  /** Whether questions for pieces are answered as they come. */
  serving: boolean;
  /** Keeps a payload, to be fetched in pieces, and says how an event refers to it. */
  keep(payload: Json): PayloadRef;
  /** What would answer this question; null for what is not kept. */
  piece(get: Json): Json;
  /** The n-th registered connection, from 0; waits for it. */
  connection(index?: number): Promise<ScriptedConnection>;
  /** Every frame of a type that any connection received, decoded, in order. */
  frames(type: string): Json[];
  statuses(eventId: string): Json[];
  /** Waits until the event's last status is there, and gives it. */
  ended(eventId: string, timeoutMs?: number): Promise<Json>;
}

export interface ScriptedCpOptions {
  /** 0: answers as 0.1 does. */
  readonly protocol: 0 | 2;
  /** What it says it can do; all by default. */
  readonly features?: readonly string[];
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly port?: number;
}

const TERMINAL = new Set(["completed", "failed", "expired", "cancelled"]);

class Connection implements ScriptedConnection {
  registration: Json = {};
  registered = false;
  readonly texts: string[] = [];
  closed: { readonly code: number; readonly reason: string } | undefined;
  readonly #socket: ServerWebSocket<{ connection: Connection }>;
  constructor(socket: ServerWebSocket<{ connection: Connection }>) {
    this.#socket = socket;
  }
  send(frame: Json | string): void {
    this.#socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }
  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }
  terminate(): void {
    this.#socket.terminate();
  }
}

/** A control plane that does what the test says: a real WebSocket server with 0.1's registration reply or ours, and nothing behind it. */
export async function scriptedCp(options: ScriptedCpOptions): Promise<ScriptedCp> {
  const connections: Connection[] = [];
  const received: Json[] = [];
  const state: Pick<ScriptedCp, "acknowledging" | "reply" | "refusing" | "serving"> & { refused: number } = {
    acknowledging: true,
    reply: undefined,
    refusing: undefined,
    refused: 0,
    serving: true,
  };
  const payloads = new Map<string, Uint8Array>();
  const piece = (get: Json): Json => {
    const encoded = payloads.get(String(get["digest"]));
    const offset = Number(get["offset"]);
    const data = encoded === undefined ? null : Buffer.from(encoded.subarray(offset, offset + LIMITS.payloadPieceBytes)).toString("base64");
    return { type: "payload_piece", digest: get["digest"], offset, data };
  };
  const registered = (): Connection[] => connections.filter((connection) => connection.registered);
  const server = Bun.serve<{ connection: Connection }>({
    hostname: "127.0.0.1",
    port: options.port ?? 0,
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    fetch(request, upgrading) {
      if (state.refusing !== undefined) {
        state.refused += 1;
        return new Response("not now", { status: state.refusing, headers: { "retry-after": "3" } });
      }
      const data = {} as { connection: Connection };
      return upgrading.upgrade(request, { data }) ? undefined : new Response("not a WebSocket", { status: 400 });
    },
    websocket: {
      maxPayloadLength: 64 * 1024 * 1024,
      backpressureLimit: 64 * 1024 * 1024,
      open(socket) {
        socket.data.connection = new Connection(socket);
        connections.push(socket.data.connection);
      },
      message(socket, message) {
        const { connection } = socket.data;
        const text = String(message);
        const frame = JSON.parse(text) as Json;
        if (!connection.registered) {
          connection.registration = frame;
          if (state.reply === null) return;
          connection.registered = true;
          // 0.1 writes its reply with sorted keys and a newline.
          const plain: Json = { message: `Agent ${String(frame["id"])} registered successfully`, status: "registered" };
          const ours = { ...plain, protocol: "2", features: (options.features ?? FEATURES).join(",") };
          connection.send(state.reply ?? `${JSON.stringify(options.protocol === 2 ? ours : plain)}\n`);
          return;
        }
        connection.texts.push(text);
        received.push(frame);
        if (options.protocol === 2 && state.acknowledging && frame["type"] === "status_update")
          connection.send({ type: "status_ack", boot_id: frame["boot_id"], seq: frame["seq"] });
        if (state.serving && frame["type"] === "payload_get") connection.send(piece(frame));
      },
      close(socket, code, reason) {
        socket.data.connection.closed = { code, reason };
      },
    },
  });
  const frames = (type: string): Json[] => received.filter((frame) => frame["type"] === type);
  const statuses = (eventId: string): Json[] => frames("status_update").filter((frame) => frame["event_id"] === eventId);
  return {
    port: server.port ?? 0,
    url: `${options.tls === undefined ? "ws" : "wss"}://127.0.0.1:${server.port}/ws`,
    connections,
    get acknowledging() {
      return state.acknowledging;
    },
    set acknowledging(value) {
      state.acknowledging = value;
    },
    get reply() {
      return state.reply;
    },
    set reply(value) {
      state.reply = value;
    },
    get refusing() {
      return state.refusing;
    },
    set refusing(value) {
      state.refusing = value;
    },
    get refused() {
      return state.refused;
    },
    get serving() {
      return state.serving;
    },
    set serving(value) {
      state.serving = value;
    },
    keep(payload) {
      const text = JSON.stringify(payload);
      const digest = createHash("sha256").update(text).digest("hex");
      const encoded = zstdCompressSync(text);
      payloads.set(digest, encoded);
      return { digest, bytes: Buffer.byteLength(text), encoding: "zstd", encoded_bytes: encoded.byteLength };
    },
    piece,
    connection: (index = 0) => eventually(() => registered()[index], { what: `connection ${index}` }),
    frames,
    statuses,
    ended: (eventId, timeoutMs = 15_000) =>
      eventually(() => statuses(eventId).find((status) => TERMINAL.has(String(status["state"]))), {
        what: `the end of ${eventId}`,
        timeoutMs,
      }),
    async [Symbol.asyncDispose]() {
      await server.stop(true);
    },
  };
}
