import { failpoint, type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Peer } from "../net/mod.ts";
import {
  type AgentStatus,
  CLOSE,
  checkRegistration,
  isTerminal,
  LIMITS,
  type Registration,
  registrationReply,
  type StatusUpdate,
} from "../protocol/mod.ts";
import { agentPrincipal } from "../security/mod.ts";
import type { NewAudit, StatusOutcome, Store } from "../stores/mod.ts";
import { Admission, type AdmissionLimits, Turns } from "./admission.ts";
import type { Bell } from "./bell.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { KnownAgents } from "./known-agents.ts";
import type { Payloads } from "./payloads.ts";
import type { Registry } from "./registry.ts";
import { AgentSession, type SessionEvents } from "./session.ts";
import { Pulse } from "./pulse.ts";

const REGISTRATION_TIMEOUT_MS = 10_000;
const STORE_PATIENCE_MS = 8_000;
const STORE_RETRY_MS = 500;
const TOUCH_MS = 15_000;
/** How long a status may wait for others before it is stored; nobody sees the difference, and a commit can take as long. */
const STATUS_PULSE_MS = 4;
const TRY_AGAIN_LATER = 1013;
/** What a stranger wrote is cut before it goes to the log. */
const SHOWN_CHARS = 300;

/** Ten thousand agents that come back at once are in within some seconds, and everybody else is served meanwhile. */
export const ADMISSION_LIMITS: AdmissionLimits = { atOnce: 500, perSecond: 2_000, burst: 1_000 };

/** Of those let in, how many are written down at the same time: enough for one commit to serve many. */
const SAVING_AT_ONCE = 64;
/** How often the log says that agents are sent away. */
const SENT_AWAY_MS = 5_000;

/** What the transport tells of one agent's socket. Nothing is called after `closed`. */
export interface AgentSocket {
  /** A text frame. */
  message(text: string): void;
  /** The agent has taken all that it was sent. */
  drained(): void;
  closed(code: number, reason: string): void;
}

/** What is known of each socket. Kept small: there may be many thousands. */
interface Link {
  readonly peer: Peer;
  readonly requestId: string;
  session: AgentSession | undefined;
  registering: boolean;
  /** It counts among those that were let in and are not registered yet. */
  counted: boolean;
  timeout: TimerHandle | undefined;
}

export interface GatewayOptions {
  readonly tenant: string;
  readonly store: Store;
  readonly registry: Registry;
  readonly dispatcher: Dispatcher;
  readonly payloads: Pick<Payloads, "piece">;
  readonly known: KnownAgents;
  readonly bell: Bell;
  readonly ports: Ports;
  readonly log: Logger;
  readonly heartbeatTimeoutMs: number;
  readonly onFrame: (kind: string) => void;
  /** `ADMISSION_LIMITS` where nothing is said. */
  readonly admission?: Partial<AdmissionLimits>;
}

/** Where agents' sockets come in: registration, replacement, silence, farewell. */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #open = new Set<Link>();
  readonly #pulse: Pulse;
  readonly #admission: Admission;
  readonly #turns = new Turns(SAVING_AT_ONCE);
  #sentAway = 0;
  #saidAtMs = Number.NEGATIVE_INFINITY;
  readonly #events: SessionEvents;
  #timers: TimerHandle[] = [];
  #stopping = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#pulse = new Pulse(options.ports.timers, STATUS_PULSE_MS);
    this.#admission = new Admission(options.ports, { ...ADMISSION_LIMITS, ...options.admission });
    const { dispatcher, payloads } = options;
    this.#events = {
      acknowledged: (from, eventId, revision) => dispatcher.acknowledged(from, eventId, revision),
      status: (from, update, outcome) => this.#status(from, update, outcome),
      credit: (from, credit) => dispatcher.credit(from, credit),
      heartbeat: (from, open) => dispatcher.heartbeat(from, open),
      opened: (from, frame) => dispatcher.opened(from, frame),
      payload: (from, get) => {
        dispatcher.alive(from, get.digest);
        payloads.piece(from, get);
      },
    };
  }

  /** Asked before an agent's socket is opened: undefined lets it in, otherwise it is to come again after so long. */
  admit(): { readonly retryAfterMs: number } | undefined {
    const later = this.#admission.admit();
    if (later !== undefined) this.#sayAway();
    return later;
  }

  /** A line for each would be most of the work. */
  #sayAway(): void {
    const { clock } = this.#options.ports;
    this.#sentAway += 1;
    if (clock.monotonic() - this.#saidAtMs < SENT_AWAY_MS) return;
    this.#saidAtMs = clock.monotonic();
    this.#options.log.warn("Many agents are connecting at once; some are sent away for a moment", { sent_away: this.#sentAway });
    this.#sentAway = 0;
  }

  start(): void {
    const { timers } = this.#options.ports;
    this.#timers = [
      timers.every(Math.max(100, this.#options.heartbeatTimeoutMs / 6), () => this.#watchSilence(), { background: true }),
      timers.every(TOUCH_MS, () => void this.#touch(), { background: true }),
    ];
  }

  /** Says farewell to every agent: they come back to whoever listens next. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const timer of this.#timers) timer.cancel();
    for (const link of this.#open) (link.session ?? link.peer).close(CLOSE.goingAway, "control plane is stopping");
    this.#pulse.beat();
    await this.#touch();
  }

  /** Takes a socket on that was just opened: its first frame must be a registration. */
  accept(peer: Peer, requestId: string): AgentSocket {
    const link: Link = { peer, requestId, session: undefined, registering: false, counted: true, timeout: undefined };
    this.#open.add(link);
    this.#admission.began();
    link.timeout = this.#options.ports.timers.after(
      REGISTRATION_TIMEOUT_MS,
      () => peer.close(CLOSE.invalidRegistration, "no registration came"),
      { background: true },
    );
    return {
      message: (text) => this.#message(link, text),
      drained: () => {
        if (link.session !== undefined) this.#options.dispatcher.drained(link.session);
      },
      closed: (code, reason) => this.#closed(link, code, reason),
    };
  }

  #message(link: Link, text: string): void {
    if (link.session !== undefined) {
      this.#options.onFrame("agent");
      link.session.receive(text);
      return;
    }
    if (link.registering) return;
    link.registering = true;
    this.#registerInTurn(link, text)
      .catch((error: unknown) => {
        this.#options.log.error("Registration failed", { remote_address: link.peer.remoteAddress, error: messageOf(error) });
        link.peer.close(TRY_AGAIN_LATER, "try again later");
      })
      .finally(() => this.#uncount(link));
  }

  #uncount(link: Link): void {
    if (!link.counted) return;
    link.counted = false;
    this.#admission.ended();
  }

  async #registerInTurn(link: Link, text: string): Promise<void> {
    if (!(await this.#turns.take(link))) return;
    try {
      if (this.#open.has(link)) await this.#register(link, text);
    } finally {
      this.#turns.give();
    }
  }

  async #register(link: Link, text: string): Promise<void> {
    const { store, registry, dispatcher, ports, log, tenant } = this.#options;
    const { peer } = link;
    const registration = this.#readRegistration(text);
    if ("problem" in registration) {
      log.warn("Registration refused", { remote_address: peer.remoteAddress, error: registration.problem });
      peer.send(JSON.stringify({ error: registration.problem }));
      peer.close(CLOSE.invalidRegistration, "invalid registration");
      return;
    }
    const session = new AgentSession({
      tenant,
      registration,
      peer,
      store,
      ports,
      log,
      pulse: this.#pulse,
      events: this.#events,
    });
    await this.#patiently(() => this.#save(session, "connected", this.#audit(session, "agent_connected", link.requestId)));
    failpoint("cp.register.saved");
    this.#options.known.note(session.agentId, registration);
    if (!this.#open.has(link) || this.#stopping) return;
    link.timeout?.cancel();
    link.timeout = undefined;
    link.session = session;
    const replaced = registry.put(session);
    if (replaced !== undefined) {
      replaced.closed = true;
      dispatcher.disconnected(replaced);
      replaced.close(CLOSE.replaced, "replaced by another connection");
      log.warn("Agent replaced by a new connection", {
        agent_id: session.agentId,
        remote_address: session.remoteAddress,
        replaced_address: replaced.remoteAddress,
      });
    }
    // Read once a pause finds this session: one that was committed before is read here, a later one sets it.
    const known = await this.#patiently(() => store.getAgent(tenant, registration.id));
    if (session.closed) return;
    session.paused = known?.paused ?? false;
    session.send(JSON.stringify(registrationReply(registration)));
    log.info("Agent connected", {
      agent_id: session.agentId,
      cluster: session.clusterName,
      version: registration.version,
      remote_address: session.remoteAddress,
    });
    dispatcher.connected(session);
  }

  #readRegistration(text: string): Registration | { readonly problem: string } {
    if (text.length > LIMITS.registrationBytes) return { problem: `registration is larger than ${LIMITS.registrationBytes} bytes` };
    let decoded: unknown;
    try {
      decoded = JSON.parse(text);
    } catch {
      return { problem: "registration is not JSON" };
    }
    const checked = checkRegistration(decoded);
    return checked.ok ? checked.value : { problem: `invalid registration: ${checked.message}` };
  }

  /** A store that is away for moments must not turn agents away: a 0.1 agent does not come back. */
  async #patiently<T>(attempt: () => Promise<T>): Promise<T> {
    const { ports } = this.#options;
    const untilMs = ports.clock.monotonic() + STORE_PATIENCE_MS;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (ports.clock.monotonic() >= untilMs) throw error;
        await ports.timers.sleep(STORE_RETRY_MS);
      }
    }
  }

  #closed(link: Link, code: number, reason: string): void {
    const { dispatcher, log, registry } = this.#options;
    const { session } = link;
    this.#open.delete(link);
    link.timeout?.cancel();
    if (session === undefined) {
      this.#turns.leave(link);
      this.#uncount(link);
      return;
    }
    session.closed = true;
    dispatcher.disconnected(session);
    if (!registry.remove(session)) return;
    log.info("Agent disconnected", { agent_id: session.agentId, cluster: session.clusterName, code, reason });
    this.#save(session, "disconnected", this.#audit(session, "agent_disconnected", link.requestId, { code, reason })).catch(
      (error: unknown) => {
        log.error("Disconnect could not be stored", { agent_id: session.agentId, error: messageOf(error) });
      },
    );
  }

  #status(session: AgentSession, update: StatusUpdate, outcome: StatusOutcome): void {
    const { dispatcher, bell, log } = this.#options;
    const { verdict } = outcome;
    const eventId = update.event_id;
    const revision = update.revision ?? undefined;
    bell.ring(outcome.entry);
    if (isTerminal(update.state) || verdict === "late" || verdict === "unknown") dispatcher.forget(session.agentId, eventId, revision);
    // The first status of an event says that the agent has it, should its acknowledgement have been lost.
    else if (update.phase === "received") dispatcher.acknowledged(session, eventId, revision);
    // Four of the five statuses of each event end here, or a repeated one.
    if (verdict === "stale" || (verdict === "apply" && !isTerminal(update.state))) return;
    const fields = {
      agent_id: session.agentId,
      cluster: session.clusterName,
      event_id: eventId.slice(0, SHOWN_CHARS),
      state: update.state,
      phase: update.phase,
    };
    switch (verdict) {
      case "apply":
        if (update.state === "completed") log.info("Event completed successfully", fields);
        else if (update.state === "failed") log.warn("Event failed", { ...fields, error: (update.message ?? "").slice(0, SHOWN_CHARS) });
        else log.info("Event ended", fields);
        return;
      case "late":
        log.warn("Status came after the event had ended", { ...fields, ended: outcome.state });
        return;
      case "forbidden":
        log.warn("Status not allowed", { ...fields, stands: outcome.state });
        return;
      case "unknown":
        log.warn("Status for an event that this agent does not have", fields);
        return;
    }
  }

  #save(session: AgentSession, status: AgentStatus, audit: NewAudit): Promise<void> {
    return this.#options.store.saveAgent(
      {
        tenant: session.tenant,
        id: session.agentId,
        registration: session.registration,
        status,
        principal: agentPrincipal(session.agentId).name,
        remoteAddress: session.remoteAddress,
        connectedAtMs: session.connectedAtMs,
        disconnectedAtMs: status === "disconnected" ? this.#options.ports.clock.now() : undefined,
        lastSeenMs: session.lastSeenMs,
        clockOffsetMs: session.clockOffsetMs,
      },
      audit,
    );
  }

  #audit(session: AgentSession, action: string, requestId: string, details?: Record<string, unknown>): NewAudit {
    return {
      tenant: session.tenant,
      atMs: this.#options.ports.clock.now(),
      principal: agentPrincipal(session.agentId).name,
      action,
      agentId: session.agentId,
      remoteAddress: session.remoteAddress,
      requestId,
      ...(details === undefined ? {} : { details }),
    };
  }

  #watchSilence(): void {
    const deadlineMs = this.#options.ports.clock.now() - this.#options.heartbeatTimeoutMs;
    let changed = false;
    for (const session of this.#options.registry.values()) {
      const healthy = session.lastSeenMs >= deadlineMs;
      if (healthy === session.healthy) continue;
      session.healthy = healthy;
      session.touched = true;
      changed = true;
      this.#options.log.warn(healthy ? "Agent is heard of again" : "Agent is unhealthy", {
        agent_id: session.agentId,
        cluster: session.clusterName,
        silent_ms: this.#options.ports.clock.now() - session.lastSeenMs,
      });
    }
    if (changed) void this.#touch();
  }

  async #touch(): Promise<void> {
    const seen = [];
    for (const session of this.#options.registry.values()) {
      if (!session.touched) continue;
      session.touched = false;
      seen.push({
        tenant: session.tenant,
        id: session.agentId,
        status: session.healthy ? ("connected" as const) : ("unhealthy" as const),
        lastSeenMs: session.lastSeenMs,
        clockOffsetMs: session.clockOffsetMs,
      });
    }
    if (seen.length === 0) return;
    try {
      await this.#options.store.touchAgents(seen);
    } catch (error) {
      this.#options.log.warn("Last contact could not be stored", { agents: seen.length, error: messageOf(error) });
    }
  }
}
