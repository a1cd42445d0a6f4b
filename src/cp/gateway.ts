import { failpoint, type Logger, messageOf, type Ports, type TimerHandle } from "../kit/mod.ts";
import type { Peer } from "../net/mod.ts";
import { CLOSE, isTerminal, registrationReply, type StatusUpdate } from "../protocol/mod.ts";
import type { StatusOutcome, Store } from "../stores/mod.ts";
import { type AdmissionLimits, Admissions, Turns } from "./admission.ts";
import { type AgentDoor, type Arrival, wayOf } from "./agent-door.ts";
import { AgentRecords } from "./agent-records.ts";
import { Attendance } from "./attendance.ts";
import type { Bell } from "./bell.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { sendOn } from "./drain.ts";
import { type Asked, type Entrant, turnedAway } from "./entrance.ts";
import { type AgentSecurity, Gatehouse } from "./gatehouse.ts";
import type { Legacy } from "./legacy.ts";
import type { Payloads } from "./payloads.ts";
import { Pulse } from "./pulse.ts";
import { readRegistration } from "./registration-frame.ts";
import type { Registry } from "./registry.ts";
import { AgentSession, type SessionEvents } from "./session.ts";
import { reportStatus } from "./status-report.ts";

const REGISTRATION_TIMEOUT_MS = 10_000;
/** How long a status may wait for others before it is stored; nobody sees the difference, and a commit can take as long. */
const STATUS_PULSE_MS = 4;
const TRY_AGAIN_LATER = 1013;
/** Whoever claimed an agent without having it says so right after: its socket was gone by then. */
const FENCED_LOOK_MS = 500;

/** Ten thousand agents that come back at once are in within some seconds, and everybody else is served meanwhile. */
export const ADMISSION_LIMITS: AdmissionLimits = { atOnce: 500, perSecond: 2_000, burst: 1_000 };

/** Of those let in, how many are written down at the same time: enough for one commit to serve many. */
const SAVING_AT_ONCE = 64;
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
  readonly arrival: Arrival;
  /** What it has to answer. */
  readonly asked: Asked | undefined;
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
  readonly bell: Bell;
  /** Of this control plane. */
  readonly replicaId: string;
  readonly ports: Ports;
  readonly log: Logger;
  readonly heartbeatTimeoutMs: number;
  readonly onFrame: (kind: string) => void;
  /** An agent turned out to be somebody else's. */
  readonly onFenced: () => void;
  /** `ADMISSION_LIMITS` where nothing is said. */
  readonly admission?: Partial<AdmissionLimits>;
  /** Undefined: nobody is asked who they are. */
  readonly security?: AgentSecurity;
  /** Who comes without an identity by the listener of 0.1; undefined where there is none. */
  readonly legacy?: Legacy;
}

/** Where agents' sockets come in: registration, replacement, silence, farewell. */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #open = new Set<Link>();
  readonly #pulse: Pulse;
  readonly #admissions: Admissions;
  readonly #turns = new Turns(SAVING_AT_ONCE);
  readonly #records: AgentRecords;
  readonly #attendance: Attendance;
  readonly #gatehouse: Gatehouse;
  /** Their agents are being claimed. */
  readonly #claiming = new Set<AgentSession>();
  readonly #events: SessionEvents;
  #stopping = false;
  #draining = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#records = new AgentRecords(options);
    this.#gatehouse = new Gatehouse({ ...options, security: options.security, legacy: options.legacy });
    this.#attendance = new Attendance({
      ...options,
      records: this.#records,
      onFenced: (session) => this.fenced(session),
      look: (agentId) => this.changed(agentId),
    });
    this.#pulse = new Pulse(options.ports.timers, STATUS_PULSE_MS);
    this.#admissions = new Admissions(options.ports, { ...ADMISSION_LIMITS, ...options.admission }, options.log);
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
      fenced: (from) => this.fenced(from),
      foreign: (from, update) => this.#gatehouse.foreign(from, update),
    };
  }

  /** Asked before an agent's socket is opened: undefined lets it in, otherwise it is to come again after so long. */
  admit(door: AgentDoor): { readonly retryAfterMs: number } | undefined {
    return this.#admissions.admit(wayOf(door));
  }

  start(): void {
    this.#attendance.start();
    this.#gatehouse.start();
  }

  /**
   * Tells the agents one after the other, over so many milliseconds at most, to connect elsewhere now; each when what it said before is stored
   * and acknowledged. Nobody is registered any more. Resolves when all are gone, or after that time and `graceMs`.
   */
  async drain(overMs: number, graceMs: number): Promise<void> {
    this.#draining = true;
    for (const { peer, session, registering } of this.#open)
      if (session === undefined && !registering) peer.close(CLOSE.moveOn, "the control plane is stopping; connect to another");
    await sendOn([...this.#options.registry.values()], () => this.#open.size > 0, { ...this.#options, overMs, graceMs });
  }

  /** Says farewell to every agent: they come back to whoever listens next. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#attendance.stop();
    for (const link of this.#open) (link.session ?? link.peer).close(CLOSE.goingAway, "control plane is stopping");
    this.#pulse.beat();
    this.#gatehouse.stop();
    await this.#attendance.touch();
  }

  /** Takes a socket on that was just opened, and asks it who it is where its door wants that: its first frame must be a registration. */
  accept(peer: Peer, arrival: Arrival): AgentSocket {
    const asked = this.#gatehouse.ask(arrival.door);
    const link: Link = { peer, arrival, asked, session: undefined, registering: false, counted: true, timeout: undefined };
    this.#open.add(link);
    if (asked !== undefined) peer.send(JSON.stringify(asked.challenge));
    this.#admissions.of(wayOf(arrival.door)).began();
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
    // One answer to what was asked, and no second.
    link.registering = true;
    this.#registerInTurn(link, text, this.#options.ports.clock.monotonic())
      .catch((error: unknown) => {
        if (!this.#open.has(link)) return;
        if (turnedAway(link.peer, error, this.#options.log)) return;
        this.#options.log.error("Registration failed", { remote_address: link.peer.remoteAddress, error: messageOf(error) });
        link.peer.close(TRY_AGAIN_LATER, "try again later");
      })
      .finally(() => this.#uncount(link));
  }

  #uncount(link: Link): void {
    if (!link.counted) return;
    link.counted = false;
    this.#admissions.of(wayOf(link.arrival.door)).ended();
  }

  async #registerInTurn(link: Link, text: string, atMs: number): Promise<void> {
    if (!(await this.#turns.take(link))) return;
    try {
      if (this.#open.has(link)) await this.#register(link, text, atMs);
    } finally {
      this.#turns.give();
    }
  }

  async #register(link: Link, text: string, atMs: number): Promise<void> {
    const { log } = this.#options;
    const { peer, arrival, asked } = link;
    const registration = readRegistration(text);
    if ("problem" in registration) {
      log.warn("Registration refused", { remote_address: peer.remoteAddress, error: registration.problem });
      peer.send(JSON.stringify({ error: registration.problem }));
      peer.close(CLOSE.invalidRegistration, "invalid registration");
      return;
    }
    const origin = { address: arrival.address ?? peer.remoteAddress, requestId: arrival.requestId };
    const { entrant, stands } = await this.#gatehouse.admit({ registration, arrival, asked, atMs, origin });
    try {
      await this.#enter(link, entrant, stands);
    } finally {
      this.#gatehouse.entered(entrant);
    }
  }

  /** Claims the agent and puts it in its place. `stands`: whether it is still who it was when it was let in. */
  async #enter(link: Link, entrant: Entrant, stands: (session: AgentSession) => Promise<boolean>): Promise<void> {
    const { store, dispatcher, ports, log, tenant } = this.#options;
    const { peer } = link;
    const { requestId } = link.arrival;
    const { registration } = entrant;
    const session = new AgentSession({ tenant, entrant, peer, store, ports, log, pulse: this.#pulse, events: this.#events });
    this.#claiming.add(session);
    try {
      const claimed = await this.#records.claim(session, requestId, () => this.#open.has(link));
      session.epoch = claimed.epoch;
      // A pause that was committed after the claim may have been told before it.
      if (!session.pauseKnown) session.paused = claimed.paused;
      failpoint("cp.register.saved");
      if (!(await stands(session))) {
        await this.#records.release(session, requestId, { reason: "its identity ended before it was registered" });
        peer.close(CLOSE.identityEnded, "the agent's identity was revoked");
        return;
      }
      if (!this.#open.has(link) || this.#stopping || this.#draining) {
        // Whoever has it now must not take us for its owner.
        await this.#records.release(session, requestId, { reason: "gone before it was registered" });
        peer.close(CLOSE.moveOn, "the control plane is stopping; connect to another");
        return;
      }
      link.timeout?.cancel();
      link.timeout = undefined;
      link.session = session;
      if (!this.#put(session)) return;
      session.send(JSON.stringify(registrationReply(registration, session.epoch)));
      log.info("Agent connected", {
        agent_id: session.agentId,
        cluster: session.clusterName,
        version: registration.version,
        remote_address: session.remoteAddress,
        epoch: session.epoch,
        ...(claimed.before === undefined || claimed.before === this.#options.replicaId ? {} : { before: claimed.before }),
      });
      this.#gatehouse.connected(session);
      dispatcher.connected(session);
    } finally {
      this.#claiming.delete(session);
    }
  }

  /** Puts a session in its agent's place. False when a later claim is there already. */
  #put(session: AgentSession): boolean {
    const { registry, dispatcher, log } = this.#options;
    const there = registry.get(session.agentId);
    const late = there !== undefined && there.epoch > session.epoch;
    const replaced = late ? session : registry.put(session);
    if (replaced === undefined) return true;
    replaced.closed = true;
    dispatcher.disconnected(replaced);
    replaced.close(CLOSE.replaced, "replaced by another connection");
    log.warn("Agent replaced by a new connection", {
      agent_id: session.agentId,
      remote_address: (late ? there : session).remoteAddress,
      replaced_address: replaced.remoteAddress,
    });
    return !late;
  }

  /**
   * Another connection owns the agent of this session by now: nothing is taken from it, acknowledged or handed to it any more. Where that
   * other one is, its agent is told to stay away for a while, as two with one id would only fight; where nobody has it, to come again now.
   */
  fenced(session: AgentSession): void {
    const { registry, dispatcher, log, ports } = this.#options;
    if (session.fenced || session.closed) return;
    session.fence();
    dispatcher.fenced(session);
    registry.remove(session);
    this.#options.onFenced();
    log.warn("Agent is connected elsewhere by now", { agent_id: session.agentId, epoch: session.epoch });
    ports.timers.after(FENCED_LOOK_MS, () => void this.#sendOn(session), { background: true });
  }

  async #sendOn(session: AgentSession): Promise<void> {
    const { registry, store, tenant } = this.#options;
    const { agentId } = session;
    const isElsewhere =
      registry.get(agentId) !== undefined ||
      (await store.getAgent(tenant, agentId).then(
        (agent) => agent?.replicaId !== undefined,
        () => false,
      ));
    if (isElsewhere) session.close(CLOSE.replaced, "replaced by another connection");
    else session.close(CLOSE.moveOn, "this connection does not count any more");
  }

  /** Another control plane claimed the agent, with this epoch. */
  claimedElsewhere(agentId: string, epoch: number): void {
    const session = this.#options.registry.get(agentId);
    if (session !== undefined && session.epoch < epoch) this.fenced(session);
  }

  /** Looks at all agents here: whether they are ours still, and which are paused or removed. Throws what the store throws. */
  checkAll(): Promise<void> {
    return this.#attendance.checkAll();
  }

  /** The agent was paused, goes on, or was removed: looks into the store for which. Throws what the store throws. */
  async changed(agentId: string): Promise<void> {
    const { store, tenant, registry, dispatcher } = this.#options;
    const began = registry.get(agentId);
    const agent = await store.getAgent(tenant, agentId);
    for (const claiming of this.#claiming) {
      if (claiming.agentId !== agentId || agent === undefined) continue;
      claiming.paused = agent.paused;
      claiming.pauseKnown = true;
    }
    const session = registry.get(agentId);
    if (session === undefined) return;
    if (agent === undefined) {
      // One that has come since is written down again.
      if (session === began) this.removed(agentId);
    } else {
      session.paused = agent.paused;
      if (!agent.paused) dispatcher.queued(agentId);
    }
  }

  /** The agent is forgotten: its connection ends. To be called when that is durable, or it would be written back. */
  removed(agentId: string): void {
    const { registry, dispatcher } = this.#options;
    const session = registry.get(agentId);
    if (session === undefined) return;
    registry.remove(session);
    dispatcher.disconnected(session);
    session.close(CLOSE.removed, "the agent was removed");
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
    this.#gatehouse.disconnected(session);
    dispatcher.disconnected(session);
    if (!registry.remove(session)) return;
    log.info("Agent disconnected", { agent_id: session.agentId, cluster: session.clusterName, code, reason });
    void this.#records.release(session, link.arrival.requestId, { code, reason });
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
    if (verdict === "unknown") this.#gatehouse.unknown(session, update);
    reportStatus(log, session, update, outcome);
  }
}
