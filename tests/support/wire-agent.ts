import type { PeerCertificate } from "node:tls";
import type { ChallengeFrame, Proof } from "../../src/protocol/mod.ts";
import { eventually } from "./eventually.ts";

type Json = Record<string, unknown>;

export interface WireAgent extends AsyncDisposable {
  /** Every frame the control plane sent, the registration reply first. */
  readonly frames: Json[];
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  send(frame: Json | string): void;
  /** The n-th frame of a type, waited for. */
  frame(type: string, index?: number): Promise<Json>;
  /** The delivery of this event, waited for. */
  event(id: string): Promise<Json>;
  /** How often the event was delivered on this connection so far. */
  deliveries(id: string): number;
  /** Sends 0.1's five statuses for an event, or up to the phase named; protocol 2 agents number them. */
  report(id: string, until?: "received" | "completed" | "failed", revision?: number): void;
  /** Sends the one status that ends an event. */
  end(id: string, state: "completed" | "failed" | "cancelled"): void;
  close(): void;
}

export const REGISTRATION_0_1 = {
  id: "agent-1",
  name: "agent-1",
  cluster_name: "cluster-1",
  cluster_provider: "kind",
  region: "local",
  version: "0.1.0",
  capabilities: ["k8s_crud"],
  hostname: "host",
  namespace: "default",
};

export interface DialAgentOptions {
  /** Sent in place of the registration. */
  readonly raw?: string;
  readonly tls?: {
    readonly ca: string;
    readonly cert?: string;
    readonly key?: string;
    checkServerIdentity(host: string, certificate: PeerCertificate): Error | undefined;
  };
  /** Waits for a challenge and answers it; undefined: with a registration without proof. */
  readonly prove?: (challenge: ChallengeFrame) => Promise<Proof | undefined>;
}

/** An agent that speaks the wire and does nothing else: a bare WebSocket that sends what the test says. */
export async function dialAgent(wsUrl: string, registration: Json = {}, options: DialAgentOptions = {}): Promise<WireAgent> {
  const bootId = typeof registration["boot_id"] === "string" ? registration["boot_id"] : undefined;
  const agentId = typeof registration["id"] === "string" ? registration["id"] : REGISTRATION_0_1.id;
  const { tls } = options;
  const socket = tls === undefined ? new WebSocket(wsUrl) : new WebSocket(wsUrl, { tls });
  const frames: Json[] = [];
  let seq = 0;
  socket.addEventListener("message", ({ data }) => frames.push(JSON.parse(String(data)) as Json));
  const closed = new Promise<{ code: number; reason: string }>((resolve) => {
    socket.addEventListener("close", ({ code, reason }) => resolve({ code, reason }));
  });
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener("open", () => resolve());
    socket.addEventListener("error", () => reject(new Error(`cannot connect to ${wsUrl}`)));
  });
  const send = (frame: Json | string): void => socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  const ofType = (type: string): Json[] => frames.filter((frame) => frame["type"] === type);
  const eventsOf = (id: string): Json[] => ofType("event").filter((frame) => (frame["event"] as Json)["id"] === id);
  const status = (id: string, state: string, phase: string, message: string, result: Json | null = null, revision = 1): void => {
    seq += 1;
    send({
      type: "status_update",
      event_id: id,
      agent_id: agentId,
      state,
      phase,
      message,
      log_level: "info",
      details: null,
      result,
      timestamp: new Date().toISOString(),
      ...(bootId === undefined ? {} : { boot_id: bootId, seq, revision }),
    });
  };
  const agent: WireAgent = {
    frames,
    closed,
    send,
    frame: (type, index = 0) => eventually(() => ofType(type)[index], { what: `frame ${index} of type ${type}` }),
    event: (id) => eventually(() => eventsOf(id)[0], { what: `the delivery of ${id}` }),
    deliveries: (id) => eventsOf(id).length,
    report(id, until = "completed", revision = 1) {
      status(id, "in_progress", "received", "Event received, starting execution", null, revision);
      if (until === "received") return;
      status(id, "in_progress", "validating", "Validating event payload", null, revision);
      if (until === "failed") {
        status(id, "failed", "failed", "Manifest validation failed", null, revision);
        return;
      }
      status(id, "in_progress", "applying", "Applying changes to cluster", null, revision);
      status(id, "in_progress", "verifying", "Verifying changes", null, revision);
      const result = {
        success: true,
        resource_status: [{ kind: "Namespace", name: "x", api_version: "v1", status: "created", message: "Resource created successfully" }],
        completed_at: new Date().toISOString(),
        duration: 5_505_706,
      };
      status(id, "completed", "completed", "Event completed successfully", result, revision);
    },
    end: (id, state) => status(id, state, state === "completed" ? "completed" : "failed", `Event ${state}`),
    close: () => socket.close(),
    async [Symbol.asyncDispose]() {
      socket.close();
      await closed;
    },
  };
  const proof = await options.prove?.((await agent.frame("challenge")) as unknown as ChallengeFrame);
  send(options.raw ?? { ...REGISTRATION_0_1, ...registration, ...(proof === undefined ? {} : { proof }) });
  const isReply = (frame: Json): boolean => frame["status"] !== undefined || frame["error"] !== undefined;
  if (options.raw === undefined) await eventually(() => frames.some(isReply), { what: "the registration reply" });
  return agent;
}

/** The registration of an agent that acknowledges. */
export function protocol2(parts: Json = {}): Json {
  return { protocol: 2, features: ["ack"], boot_id: crypto.randomUUID(), version: "0.2.0", sent_at: new Date().toISOString(), ...parts };
}
