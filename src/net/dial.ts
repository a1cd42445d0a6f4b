import { checkServerIdentity, type PeerCertificate } from "node:tls";

/** Where the frames of one connection go. Nothing is called after `close`, and `close` is called exactly once. */
export interface SocketHandlers {
  open(): void;
  /** A text frame. Binary frames are no part of the protocol and do not arrive here; they count as life. */
  message(text: string): void;
  /** The other side is alive: a pong, a ping or a frame that is not text. */
  alive(): void;
  /** `code` is 1006 when the connection never stood or broke; `fault` then says what the transport said. */
  close(code: number, reason: string, fault: string | undefined): void;
}

export interface DialOptions {
  readonly headers?: Readonly<Record<string, string>>;
  /** PEM of the certificate authorities to trust instead of the system's. */
  readonly ca?: string;
  /** Take any certificate. */
  readonly insecureTls?: boolean;
  /** PEM of a certificate (with what leads to its CA) and of its key, for a server that asks for one. */
  readonly client?: { readonly certificate: string; readonly key: string };
  /** http:// or https:// URL of a proxy, credentials included; the connection goes through it by CONNECT. */
  readonly proxy?: string;
  readonly handlers: SocketHandlers;
}

/** One outgoing connection. */
export interface Socket {
  /** False when the connection does not stand (any more): the frame was not sent. True promises nothing but that it was handed over. */
  send(text: string): boolean;
  ping(): void;
  /** Says goodbye and waits for the answer; a peer that is gone never gives one, so `terminate` follows from the caller. */
  close(code: number, reason: string): void;
  /** Drops the connection without a word; `close` is still reported. */
  terminate(): void;
  /** Bytes handed over that the operating system has not taken yet. */
  readonly bufferedBytes: number;
  /**
   * Hex SHA-256 of the DER of the server's certificate, once its chain and its name were found good; there before `open`. Undefined without
   * TLS, and where any certificate is taken.
   */
  readonly serverCertificateSha256?: string | undefined;
}

/** Opens a connection; never throws for what the network does (that arrives as `close`). The simulation brings its own. */
export type Dialer = (url: string, options: DialOptions) => Socket;

// Bun's client emits what the DOM's does not know.
interface BunSocket extends WebSocket {
  ping(): void;
  terminate(): void;
}

/** The real thing, on Bun's WebSocket client. */
export const dial: Dialer = (url, options) => {
  const { handlers } = options;
  let closed = false;
  let fault: string | undefined;
  let serverCertificateSha256: string | undefined;
  const finish = (code: number, reason: string): void => {
    if (closed) return;
    closed = true;
    handlers.close(code, reason, fault);
  };
  const socket: BunSocket = new WebSocket(url, {
    ...(options.headers === undefined ? {} : { headers: options.headers }),
    ...(options.proxy === undefined ? {} : { proxy: options.proxy }),
    tls: {
      ...(options.ca === undefined ? {} : { ca: options.ca }),
      ...(options.insecureTls === true ? { rejectUnauthorized: false } : {}),
      ...(options.client === undefined ? {} : { cert: options.client.certificate, key: options.client.key }),
      // In place of the runtime's check of the name, so that is done here; called when the chain is good, before anything is sent.
      checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined {
        const wrong = checkServerIdentity(host, certificate);
        if (wrong === undefined) serverCertificateSha256 = certificate.fingerprint256.replaceAll(":", "").toLowerCase();
        return wrong;
      },
    },
  });
  socket.addEventListener("open", () => {
    if (!closed) handlers.open();
  });
  socket.addEventListener("message", (event: MessageEvent<unknown>) => {
    if (closed) return;
    if (typeof event.data === "string") handlers.message(event.data);
    else handlers.alive();
  });
  const alive = (): void => {
    if (!closed) handlers.alive();
  };
  socket.addEventListener("pong" as "open", alive);
  socket.addEventListener("ping" as "open", alive);
  socket.addEventListener("error", (event: Event) => {
    fault = "message" in event && typeof event.message === "string" ? event.message : "the connection failed";
  });
  socket.addEventListener("close", (event: CloseEvent) => finish(event.code, event.reason));
  return {
    send(text) {
      if (closed || socket.readyState !== WebSocket.OPEN) return false;
      socket.send(text);
      return true;
    },
    ping() {
      if (!closed && socket.readyState === WebSocket.OPEN) socket.ping();
    },
    close(code, reason) {
      if (!closed) socket.close(code, reason);
    },
    terminate() {
      if (!closed) socket.terminate();
    },
    get bufferedBytes() {
      return socket.bufferedAmount;
    },
    get serverCertificateSha256() {
      return serverCertificateSha256;
    },
  };
};
