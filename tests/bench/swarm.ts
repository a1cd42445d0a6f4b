import { X509Certificate } from "node:crypto";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import { agentStatement, type ChallengeFrame } from "../../src/protocol/mod.ts";
import { signText } from "../../src/security/mod.ts";
import type { FleetIdentity } from "../support/fleet.ts";

/** Which of the two wires the agents speak: ours with acknowledgements, or 0.1's without. */
export type Wire = "protocol-2" | "0.1";

export interface SwarmOptions {
  readonly wsUrl: string;
  readonly agents: number;
  readonly wire: Wire;
  /** Time between two phases of an event; each phase is a frame of its own. */
  readonly phaseMs: number;
  /** 0 sends none. */
  readonly heartbeatMs: number;
  /** Distinguishes this swarm's agent ids. */
  readonly prefix: string;
  /** Who the agents are, where they are asked; then these are their ids. */
  readonly secure?: { readonly ca: string; readonly identities: readonly FleetIdentity[] };
  /** An event reached its agent. `performance.now()` of the moment. */
  readonly onEvent: (eventId: string, atMs: number) => void;
  /** Protocol 2: its last status is acknowledged, so it is durable. 0.1, which has no acknowledgement: its last status was sent. */
  readonly onFinished: (eventId: string) => void;
}

const PHASES = [
  ["in_progress", "received", "Event received, starting execution"],
  ["in_progress", "validating", "Validating event payload"],
  ["in_progress", "applying", "Applying changes to cluster"],
  ["in_progress", "verifying", "Verifying changes"],
  ["completed", "completed", "Event completed successfully"],
] as const;
const RESULT =
  '{"success":true,"resource_status":[{"kind":"ConfigMap","name":"settings","namespace":"default","api_version":"v1","status":"created","message":"Resource created successfully"}],"completed_at":"2026-02-10T10:00:00Z","duration":5505706}';
const EVENT_START = '{"type":"event"';
const ID_START = '"id":"';
const ACK_START = '{"type":"status_ack"';

class LeanAgent {
  readonly id: string;
  readonly #socket: WebSocket;
  readonly #options: SwarmOptions;
  readonly #bootId = crypto.randomUUID();
  /** Events by their next phase, in the order they came. */
  #running: { readonly eventId: string; next: number }[] = [];
  readonly #unacknowledged: { readonly eventId: string; readonly seq: number }[] = [];
  #seq = 0;
  #ending = false;
  #in = false;
  readonly registered: Promise<void>;

  readonly #identity: FleetIdentity | undefined;
  #channel = "none";

  constructor(id: string, options: SwarmOptions) {
    this.id = id;
    this.#options = options;
    const identity = options.secure?.identities.find(({ agentId }) => agentId === id);
    this.#identity = identity;
    this.#socket =
      identity === undefined || options.secure === undefined
        ? new WebSocket(options.wsUrl)
        : new WebSocket(options.wsUrl, {
            tls: {
              ca: options.secure.ca,
              cert: identity.certificate,
              key: identity.key,
              checkServerIdentity: (host: string, certificate: PeerCertificate) => {
                this.#channel = `tls-server-end-point:${certificate.fingerprint256.replaceAll(":", "").toLowerCase()}`;
                return checkServerIdentity(host, certificate);
              },
            },
          });
    this.registered = new Promise<void>((resolve, reject) => {
      // Who is asked answers with the registration.
      if (identity === undefined) this.#socket.addEventListener("open", () => this.#socket.send(this.#registration()));
      this.#socket.addEventListener("message", ({ data }) => this.#take(String(data), resolve));
      this.#socket.addEventListener("close", ({ code, reason }) => {
        const error = new Error(`agent ${id} was closed: ${code} ${reason}`);
        reject(error);
        // Without it events would be waited for in vain. Whoever never got in is dialled again.
        if (this.#in && !this.#ending) throw error;
      });
    });
  }

  /** Sends the next phase of everything that runs. */
  step(): void {
    if (this.#running.length === 0) return;
    const running = this.#running;
    this.#running = [];
    for (const one of running) {
      this.#report(one.eventId, one.next);
      one.next += 1;
      if (one.next < PHASES.length) this.#running.push(one);
    }
  }

  close(): void {
    this.#ending = true;
    this.#socket.close();
  }

  heartbeat(): void {
    this.#socket.send(`{"type":"heartbeat","timestamp":"${new Date().toISOString()}","metrics":{}}`);
  }

  /** The registration with its proof. */
  #answer(challenge: ChallengeFrame, { key, certificate }: FleetIdentity): string {
    const { audience, nonce } = challenge;
    const certificateSha256 = new Bun.CryptoHasher("sha256").update(new X509Certificate(certificate).raw).digest("hex");
    const channel = this.#channel;
    const signature = signText(agentStatement({ audience, nonce, agentId: this.id, certificateSha256, channel }), key);
    return JSON.stringify({ ...(JSON.parse(this.#registration()) as object), proof: { certificate, nonce, channel, signature } });
  }

  #registration(): string {
    const base = {
      id: this.id,
      name: this.id,
      cluster_name: `cluster-of-${this.id}`,
      cluster_provider: "kind",
      region: "local",
      version: "0.1.0",
      labels: { environment: "bench" },
      capabilities: ["k8s_crud"],
      hostname: "bench",
      namespace: "default",
    };
    return JSON.stringify(
      this.#options.wire === "0.1"
        ? base
        : { ...base, version: "0.2.0", protocol: 2, features: ["ack"], boot_id: this.#bootId, sent_at: new Date().toISOString() },
    );
  }

  #take(text: string, registered: () => void): void {
    if (text.startsWith(EVENT_START)) {
      const from = text.indexOf(ID_START) + ID_START.length;
      const eventId = text.slice(from, text.indexOf('"', from));
      this.#options.onEvent(eventId, performance.now());
      if (this.#options.wire === "protocol-2") this.#socket.send(`{"type":"event_ack","event_id":"${eventId}","revision":1}`);
      this.#report(eventId, 0);
      this.#running.push({ eventId, next: 1 });
      return;
    }
    if (text.startsWith(ACK_START)) {
      const { seq } = JSON.parse(text) as { readonly seq: number };
      for (let first = this.#unacknowledged[0]; first !== undefined && first.seq <= seq; first = this.#unacknowledged[0]) {
        this.#unacknowledged.shift();
        this.#options.onFinished(first.eventId);
      }
      return;
    }
    if (text.startsWith('{"type":"trust"')) return;
    if (this.#identity !== undefined && text.startsWith('{"type":"challenge"')) {
      this.#socket.send(this.#answer(JSON.parse(text) as ChallengeFrame, this.#identity));
      return;
    }
    if (text.includes('"registered"')) {
      this.#in = true;
      registered();
    } else throw new Error(`agent ${this.id} got a frame it does not know: ${text.slice(0, 200)}`);
  }

  #report(eventId: string, phase: number): void {
    const [state, name, message] = PHASES[phase] ?? PHASES[4];
    const last = phase === PHASES.length - 1;
    this.#seq += 1;
    const protocol2 = this.#options.wire === "protocol-2" ? `,"boot_id":"${this.#bootId}","seq":${this.#seq},"revision":1` : "";
    this.#socket.send(
      `{"type":"status_update","event_id":"${eventId}","agent_id":"${this.id}","state":"${state}","phase":"${name}","message":"${message}",` +
        `"log_level":"info","details":null,"result":${last ? RESULT : "null"},"timestamp":"${new Date().toISOString()}"${protocol2}}`,
    );
    if (!last) return;
    if (this.#options.wire === "protocol-2") this.#unacknowledged.push({ eventId, seq: this.#seq });
    else this.#options.onFinished(eventId);
  }
}

/** The control plane lets so many in a second; who is sent away comes again. */
async function dialUntilIn(id: string, options: SwarmOptions): Promise<LeanAgent> {
  for (let tries = 1; ; tries += 1) {
    const agent = new LeanAgent(id, options);
    try {
      await agent.registered;
      return agent;
    } catch (error) {
      if (tries === 50) throw error;
      await Bun.sleep(100 + Math.random() * 400);
    }
  }
}

/** Agents that speak the wire and do nothing: they report the five statuses of each event, one phase after the other. */
export class Swarm {
  readonly agents: readonly LeanAgent[];
  readonly #timers: ReturnType<typeof setInterval>[] = [];

  /** Connects a few at a time, so that no listen queue overflows. */
  static async connect(options: SwarmOptions): Promise<Swarm> {
    const agents: LeanAgent[] = [];
    const AT_ONCE = 50;
    for (let from = 0; from < options.agents; from += AT_ONCE) {
      const ids = Array.from(
        { length: Math.min(AT_ONCE, options.agents - from) },
        (_, at) => options.secure?.identities[from + at]?.agentId ?? `${options.prefix}-${from + at}`,
      );
      agents.push(...(await Promise.all(ids.map((id) => dialUntilIn(id, options)))));
    }
    return new Swarm(agents, options);
  }

  private constructor(agents: readonly LeanAgent[], options: SwarmOptions) {
    this.agents = agents;
    this.#timers.push(
      setInterval(() => {
        for (const agent of agents) agent.step();
      }, options.phaseMs),
    );
    if (options.heartbeatMs <= 0) return;
    // Spread over the interval, as real agents are: they did not start in the same moment.
    const SLICES = 100;
    let slice = 0;
    this.#timers.push(
      setInterval(() => {
        for (let at = slice; at < agents.length; at += SLICES) agents[at]?.heartbeat();
        slice = (slice + 1) % SLICES;
      }, options.heartbeatMs / SLICES),
    );
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const agent of this.agents) agent.close();
  }
}
