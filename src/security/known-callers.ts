import type { Clock } from "../kit/mod.ts";
import type { Principal } from "./principal.ts";

/** So long somebody counts as known without a look into the store: what the word of another control plane would not reach, this ends. */
const FRESH_MS = 5_000;
const MAX_KNOWN = 10_000;
/** So many endings are remembered, for whoever asks the store meanwhile. */
const MAX_ENDED = 1_000;

/** Somebody who showed who they are. */
export class Known {
  readonly principal: Principal;
  /** What of it ends, ends this. */
  readonly endedBy: readonly string[];
  /** Of a session: what everything that changes something has to carry. */
  readonly csrf: string | undefined;

  constructor(principal: Principal, endedBy: readonly (string | undefined)[], csrf?: string) {
    this.principal = principal;
    this.endedBy = endedBy.filter((credential) => credential !== undefined);
    this.csrf = csrf;
  }
}

interface Entry {
  readonly known: Known;
  freshUntilMs: number;
}

/** Who was here a moment ago, by a digest of what they showed. */
export class KnownCallers {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  /** Sessions that came here: what they were begun with, and when they run out. They outlast `#entries`, as connections do. */
  readonly #sessions = new Map<string, { readonly parent: string; readonly untilMs: number }>();
  /** What ended last; undefined stands for everything. */
  readonly #ended: (string | undefined)[] = [];
  #endings = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How often something ended, so that whoever asked meanwhile knows that the answer may be older. */
  get endings(): number {
    return this.#endings;
  }

  get size(): number {
    return this.#entries.size;
  }

  fresh(key: string): Known | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || this.#clock.monotonic() >= entry.freshUntilMs) return undefined;
    const { expiresAtMs = Number.POSITIVE_INFINITY } = entry.known.principal;
    return expiresAtMs <= this.#clock.now() ? undefined : entry.known;
  }

  /** Whether it was right before, be it fresh or not. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  remember(key: string, known: Known): void {
    this.#entries.delete(key);
    if (this.#entries.size >= MAX_KNOWN) {
      const [oldest = ""] = this.#entries.keys();
      this.#entries.delete(oldest);
    }
    const [credential = "", ...parents] = known.endedBy;
    for (const parent of parents) this.#session(credential, parent, known.principal.expiresAtMs);
    this.#entries.set(key, { known, freshUntilMs: this.#clock.monotonic() + FRESH_MS });
  }

  forget(key: string): void {
    this.#entries.delete(key);
  }

  /** Something of this credential has changed: whoever came by it is looked at anew. Undefined: everybody is. */
  end(credential: string | undefined): void {
    this.#endings += 1;
    this.#ended.push(credential);
    if (this.#ended.length > MAX_ENDED) this.#ended.shift();
    for (const entry of this.#entries.values()) {
      if (credential === undefined || entry.known.endedBy.includes(credential)) entry.freshUntilMs = Number.NEGATIVE_INFINITY;
    }
  }

  /** Whether one of these ended since `endings` was that number. Yes, where that is too long ago to know. */
  endedSince(endings: number, credentials: readonly string[]): boolean {
    const since = this.#endings - endings;
    if (since === 0) return false;
    if (since > this.#ended.length) return true;
    return this.#ended.slice(-since).some((ended) => ended === undefined || credentials.includes(ended));
  }

  /** Credentials of sessions that were begun with this one and came here. */
  sessionsOf(parent: string): readonly string[] {
    return [...this.#sessions].filter(([, session]) => session.parent === parent).map(([credential]) => credential);
  }

  #session(credential: string, parent: string, untilMs = Number.POSITIVE_INFINITY): void {
    if (!this.#sessions.has(credential)) {
      const nowMs = this.#clock.now();
      for (const [other, session] of this.#sessions) if (session.untilMs <= nowMs) this.#sessions.delete(other);
    }
    this.#sessions.set(credential, { parent, untilMs });
  }
}
