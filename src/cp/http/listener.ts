import { type Logger, messageOf, TransporterError } from "../../kit/mod.ts";
import type { TlsMaterial } from "../../security/mod.ts";
import type { SocketData } from "./agent-sockets.ts";
import type { Serving } from "./server.ts";

export type TlsMinimum = "1.2" | "1.3";

/** As TLS writes them; Bun takes numbers. */
const TLS_VERSION: Readonly<Record<TlsMinimum, number>> = { "1.2": 0x0303, "1.3": 0x0304 };

export interface ListenerOptions {
  /** For people: `agents`. */
  readonly name: string;
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** By which flag the port is chosen. */
  readonly portFlag: string;
  /** Undefined: plain HTTP. */
  readonly tls?: { readonly min: TlsMinimum; readonly clientCertificates: boolean; readonly material: () => TlsMaterial };
  /** What is served; `material` is what this generation of the listener speaks with. */
  readonly serving: (material: TlsMaterial | undefined) => Serving;
  readonly log: Logger;
}

/**
 * One address that is listened on. Its certificate can be changed while it serves: a second server takes the same port over, and the first
 * keeps only the connections that it has, as Bun changes no certificate of a server that stands.
 */
export class Listener {
  readonly #options: ListenerOptions;
  #current: Bun.Server<SocketData>;
  /** They accept nothing any more, and have connections left. */
  readonly #former = new Set<Bun.Server<SocketData>>();
  #speaking: TlsMaterial | undefined;
  #stopped = false;

  /** Throws CONFIG_INVALID when the address cannot be listened on. */
  constructor(options: ListenerOptions) {
    this.#options = options;
    const { host, port, portFlag, tls } = options;
    this.#speaking = tls?.material();
    try {
      // With the port open to a second server of ours, Linux would let another program of this user share it too, from the first moment on.
      if (tls !== undefined && port !== 0) Bun.listen({ hostname: host, port, socket: { data: () => undefined } }).stop(true);
      this.#current = this.#serve(port);
    } catch (error) {
      throw new TransporterError("CONFIG_INVALID", `cannot listen on ${host}:${port}: ${messageOf(error)}`, {
        cause: error,
        remedy: `Another program may use the port; choose one with ${portFlag}.`,
      });
    }
  }

  get port(): number {
    return this.#current.port ?? this.#options.port;
  }

  /** `host:port`, as it stands in a URL. */
  get address(): string {
    const { host } = this.#options;
    return `${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${this.port}`;
  }

  get url(): string {
    return `${this.#options.tls === undefined ? "http" : "https"}://${this.address}`;
  }

  /** Speaks with another certificate from now on, or trusts others; connections that stand go on as they are. */
  renewTls(): void {
    const { tls, name, log } = this.#options;
    if (tls === undefined || this.#stopped) return;
    const next = tls.material();
    const now = this.#speaking;
    if (now !== undefined && next.cert === now.cert && next.key === now.key && next.clientCas === now.clientCas) return;
    this.#speaking = next;
    const former = this.#current;
    try {
      this.#current = this.#serve(this.port);
    } catch (error) {
      this.#speaking = now;
      log.error("A listener cannot take its new certificate and goes on with the old one", { listener: name, error: messageOf(error) });
      return;
    }
    this.#former.add(former);
    former.stop(false).then(
      () => this.#former.delete(former),
      () => this.#former.delete(former),
    );
    log.info("A listener has its new certificate", { listener: name, address: this.address });
  }

  /** Accepts nothing any more; resolves when the last connection is gone, at once where they are dropped. */
  async stop(dropConnections: boolean): Promise<void> {
    this.#stopped = true;
    await Promise.all([this.#current, ...this.#former].map((server) => server.stop(dropConnections)));
  }

  #serve(port: number): Bun.Server<SocketData> {
    const { host, tls, serving } = this.#options;
    const material = this.#speaking;
    const server = { ...serving(material), hostname: host, port };
    if (tls === undefined || material === undefined) return Bun.serve<SocketData>(server);
    const speaking = {
      cert: material.cert,
      key: material.key,
      // Bun takes it, and does not tell so in its types.
      minVersion: TLS_VERSION[tls.min],
      ...(tls.clientCertificates ? { ca: material.clientCas, requestCert: true, rejectUnauthorized: true } : {}),
    };
    return Bun.serve<SocketData>({ ...server, reusePort: true, tls: speaking });
  }
}
