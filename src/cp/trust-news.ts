import { X509Certificate } from "node:crypto";
import type { Ports, TimerHandle } from "../kit/mod.ts";
import type { Security } from "../security/mod.ts";
import type { AgentSession } from "./session.ts";

/** Every agent that is told to renew does so at once, which costs two signatures and a write: so many milliseconds for each. */
const EACH_MS = 25;

export interface TrustNewsOptions {
  readonly trust: Pick<Security["trust"], "bundle" | "onChange">;
  /** All that are connected now. */
  readonly sessions: () => Iterable<AgentSession>;
  readonly ports: Pick<Ports, "timers" | "random">;
}

/**
 * Tells agents over their connection what to trust: each when it comes, and all when it changes. Those whose certificate is not of the CA that
 * issues now are told to renew, one after the other, so that a new CA brings no storm.
 */
export class TrustNews {
  readonly #options: TrustNewsOptions;
  #waiting = new Set<AgentSession>();
  #timer: TimerHandle | undefined;
  #stopListening: (() => void) | undefined;
  #issuer: X509Certificate | undefined;
  #bundle = "";

  constructor(options: TrustNewsOptions) {
    this.#options = options;
  }

  start(): void {
    this.#read();
    this.#stopListening = this.#options.trust.onChange(() => {
      if (this.#read()) this.#changed();
    });
  }

  stop(): void {
    this.#stopListening?.();
    this.#timer?.cancel();
  }

  /** An agent has come that showed its certificate. */
  connected(session: AgentSession): void {
    session.send(JSON.stringify({ type: "trust", trust_bundle: this.#bundle }));
    if (this.#isOutdated(session)) this.#queue([session]);
  }

  disconnected(session: AgentSession): void {
    this.#waiting.delete(session);
  }

  /** True when it is another than before. */
  #read(): boolean {
    const { pem } = this.#options.trust.bundle();
    if (pem === this.#bundle) return false;
    this.#bundle = pem;
    this.#issuer = new X509Certificate(pem);
    return true;
  }

  #changed(): void {
    const sessions = [...this.#options.sessions()].filter(({ entrant }) => entrant.verified !== undefined);
    // In no order that repeats: the same agents shall not be the last each time.
    const shuffled = sessions.map((session) => ({ session, by: this.#options.ports.random.float() }));
    this.#queue(shuffled.toSorted((one, other) => one.by - other.by).map(({ session }) => session));
  }

  #queue(sessions: readonly AgentSession[]): void {
    for (const session of sessions) this.#waiting.add(session);
    if (this.#waiting.size > 0) this.#timer ??= this.#options.ports.timers.every(EACH_MS, () => this.#tellNext(), { background: true });
  }

  #tellNext(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#timer?.cancel();
      this.#timer = undefined;
      return;
    }
    this.#waiting.delete(next);
    const renew = this.#isOutdated(next) ? { renew: true } : {};
    next.send(JSON.stringify({ type: "trust", trust_bundle: this.#bundle, ...renew }));
  }

  #isOutdated({ entrant }: AgentSession): boolean {
    return this.#issuer !== undefined && !entrant.isIssuedBy(this.#issuer);
  }
}
