import { type Nats, startNats } from "./nats.ts";
import { type Frame, type Gateway, MAX_PAYLOAD, startGateway } from "./memphis-gateway.ts";
import { Responder, type StoredLetter } from "./memphis-responder.ts";

export const TOKEN = "connection-token-of-the-tests";
export const PASSWORD = "password-of-the-tests";

export interface MemphisOptions {
  /** How it wants to be logged into; a connection token by default. */
  readonly auth?: "token" | "password";
  /** Keep all that passes. */
  readonly record?: boolean;
}

/**
 * What a Memphis broker is to its clients: a real nats-server with JetStream, a gateway before it for who is let in and which header
 * de-duplicates, and a responder for the control subjects. A test holds all of it to frames recorded from a real broker.
 */
export interface Memphis extends AsyncDisposable {
  readonly port: number;
  readonly responder: Responder;
  readonly gateway: Gateway;
  readonly frames: readonly Frame[];
  readonly nats: Nats;
  readonly letters: readonly StoredLetter[];
  /** `memphis://…` with the right secrets. */
  url(station: string, parameters?: Readonly<Record<string, string | number>>, port?: number): string;
}

export async function startMemphis(options: MemphisOptions = {}): Promise<Memphis> {
  const auth = options.auth ?? "token";
  const nats = await startNats({ config: `max_payload: ${2 * MAX_PAYLOAD}` });
  try {
    const responder = await Responder.start({ servers: `127.0.0.1:${nats.port}` });
    const admits = auth === "token" ? admitsToken(responder) : admitsPassword(responder);
    const gateway = await startGateway({ targetPort: nats.port, admits, record: options.record === true });
    return {
      port: gateway.port,
      responder,
      gateway,
      frames: gateway.frames,
      nats,
      letters: responder.letters,
      url(station, parameters = {}, port = gateway.port) {
        const secret = auth === "token" ? { token: TOKEN } : {};
        const given = Object.entries({ ...secret, ...parameters }).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
        return `memphis://root${auth === "token" ? "" : `:${PASSWORD}`}@127.0.0.1:${port}/${station}?${given.join("&")}`;
      },
      async [Symbol.asyncDispose]() {
        await gateway[Symbol.asyncDispose]();
        nats.resume();
        await responder[Symbol.asyncDispose]();
        await nats[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await nats[Symbol.asyncDispose]();
    throw error;
  }
}

/** The user is taken from the connection's name, and from nowhere else. */
function admitsToken(responder: Responder) {
  return (said: Readonly<Record<string, unknown>>): boolean => {
    const name = typeof said["name"] === "string" ? said["name"].split("::") : [];
    return (
      said["auth_token"] === TOKEN && said["user"] === undefined && name.length === 2 && responder.users.has((name[1] ?? "").toLowerCase())
    );
  };
}

function admitsPassword(responder: Responder) {
  return (said: Readonly<Record<string, unknown>>): boolean => {
    const [user = "", account = "1"] = typeof said["user"] === "string" ? said["user"].split("$") : [];
    return said["pass"] === PASSWORD && said["auth_token"] === undefined && account === "1" && responder.users.has(user.toLowerCase());
  };
}
