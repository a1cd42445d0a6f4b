import { X509Certificate } from "node:crypto";
import { type Logger, type Ports, TransporterError } from "../kit/mod.ts";
import type { Peer } from "../net/mod.ts";
import { type ChallengeFrame, CLOSE, type ErrorCode, type Registration } from "../protocol/mod.ts";
import { agentPrincipal, type Origin, type Principal, type Security, type VerifiedAgent } from "../security/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { AgentDoor, Arrival } from "./agent-door.ts";
import type { Legacy } from "./legacy.ts";
import type { Registry } from "./registry.ts";

const TRY_AGAIN_LATER = 1013;
/** With which code an agent is sent away that is not let in; what is not here is a fault of the moment. */
const CLOSE_OF: Readonly<Partial<Record<ErrorCode, number>>> = {
  IDENTITY_REQUIRED: CLOSE.identityRefused,
  IDENTITY_REFUSED: CLOSE.identityRefused,
  IDENTITY_CONFLICT: CLOSE.identityRefused,
  IDENTITY_EXPIRED: CLOSE.identityEnded,
  IDENTITY_REVOKED: CLOSE.identityEnded,
  TOO_MANY_ATTEMPTS: TRY_AGAIN_LATER,
};

/** In a registration as it is stored: hex, of the key that the agent showed. */
const KEY_FIELD = "identity_key_sha256";

/** Who an agent turned out to be. */
export class Entrant {
  /** With the labels that were granted, and without the proof, which nobody needs again. */
  readonly registration: Registration;
  readonly principal: Principal;
  /** Where it comes from, and with which request. */
  readonly origin: Origin;
  /** Undefined where nobody asked it for more than its id. */
  readonly verified: VerifiedAgent | undefined;
  /** When somebody has to look whether it still is who it was. */
  untilMs: number;
  readonly #certificate: string | undefined;

  constructor(registration: Registration, principal: Principal, origin: Origin, verified?: VerifiedAgent) {
    const { proof, ...rest } = registration;
    // The key stands with the agent in the store: other control planes compare it with what somebody shows them.
    this.registration =
      verified === undefined ? rest : { ...rest, labels: { ...rest.labels, ...verified.labels }, [KEY_FIELD]: verified.keySha256 };
    this.principal = principal;
    this.origin = origin;
    this.verified = verified;
    this.untilMs = verified?.expiresAtMs ?? Number.POSITIVE_INFINITY;
    this.#certificate = verified === undefined ? undefined : proof?.certificate;
  }

  /** Whether the certificate that it showed was issued by another. Parsed only for that, which is seldom asked. */
  isIssuedBy(issuer: X509Certificate): boolean {
    if (this.#certificate === undefined) return false;
    try {
      const certificate = new X509Certificate(this.#certificate);
      return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
    } catch {
      return false;
    }
  }
}

/** A question that was put to a socket. */
export interface Asked {
  readonly challenge: ChallengeFrame;
  /** By the monotonic clock. */
  readonly atMs: number;
}

/** What came in answer to it. */
export interface Answer {
  readonly registration: Registration;
  readonly arrival: Arrival;
  readonly asked: Asked | undefined;
  /** When the answer came, by the monotonic clock: it may have waited for its turn since. */
  readonly atMs: number;
  readonly origin: Origin;
}

export interface EntranceOptions {
  /** Undefined: nobody is asked. */
  readonly security: Pick<Security, "identities" | "refusals"> | undefined;
  /** Who comes without an identity by the listener of 0.1; undefined where there is none. */
  readonly legacy: Pick<Legacy, "why"> | undefined;
  readonly registry: Pick<Registry, "get">;
  readonly store: Pick<Store, "info" | "getAgent">;
  readonly tenant: string;
  /** Of this control plane. */
  readonly replicaId: string;
  readonly ports: Pick<Ports, "clock">;
}

/** Asks each agent who it is, as the listener wants it that it came by. */
export class Entrance {
  readonly #options: EntranceOptions;
  /** They were let in and are not registered yet. */
  readonly #arriving = new Set<VerifiedAgent>();

  constructor(options: EntranceOptions) {
    this.#options = options;
  }

  /** What is to be said to a socket before it says anything. */
  ask(door: AgentDoor): Asked | undefined {
    if (door.kind !== "proof") return undefined;
    return { challenge: this.#identities.challenge(), atMs: this.#options.ports.clock.monotonic() };
  }

  /** Lets an agent in, or throws: IDENTITY_REQUIRED, IDENTITY_REFUSED, IDENTITY_EXPIRED, IDENTITY_REVOKED, IDENTITY_CONFLICT, TOO_MANY_ATTEMPTS, STORE_UNAVAILABLE. */
  async admit(answer: Answer): Promise<Entrant> {
    const { registration, arrival, origin } = answer;
    const { door } = arrival;
    switch (door.kind) {
      case "open":
        return new Entrant(registration, agentPrincipal(registration.id), origin);
      case "legacy":
        await this.#checkLegacy(answer);
        return new Entrant(registration, agentPrincipal(registration.id, "legacy"), origin);
      case "proof": {
        const verified = await this.#verify(answer, door.channel);
        return new Entrant(registration, verified.principal, origin, verified);
      }
    }
  }

  /** It is registered, or was not after all. */
  entered({ verified }: Entrant): void {
    if (verified !== undefined) this.#arriving.delete(verified);
  }

  async #verify(of: Answer, channel: string | undefined): Promise<VerifiedAgent> {
    const { registration, asked, atMs, origin } = of;
    if (asked === undefined) throw new TransporterError("IDENTITY_REQUIRED", "the agent was not asked who it is");
    const { proof } = registration;
    const verified = await this.#identities.verify({
      agentId: registration.id,
      proof,
      challenge: asked.challenge,
      ageMs: atMs - asked.atMs,
      // Whoever let agents in behind a proxy trusts it: it shows them a certificate of its own.
      channels: [channel ?? proof?.channel ?? "none"],
      from: origin,
    });
    const elsewhere = await this.#otherKeyElsewhere(registration.id, verified);
    const other = elsewhere ?? this.#otherKey(registration.id, verified);
    if (other !== undefined) {
      const message = `another key is connected as ${registration.id}`;
      await this.#refused(of, "IDENTITY_CONFLICT", message, { key_sha256: verified.keySha256, connected_key_sha256: other });
      throw new TransporterError("IDENTITY_CONFLICT", message);
    }
    // In the same turn: two keys that come at once must not both find nobody.
    this.#arriving.add(verified);
    return verified;
  }

  /** The key of a connection that has this id and is another identity. */
  #otherKey(agentId: string, verified: VerifiedAgent): string | undefined {
    const there = this.#options.registry.get(agentId)?.entrant.verified;
    if (there !== undefined && !isSame(there, verified)) return there.keySha256;
    for (const other of this.#arriving)
      if (other.principal.name === verified.principal.name && !isSame(other, verified)) return other.keySha256;
    return undefined;
  }

  /** Likewise, at another control plane. */
  async #otherKeyElsewhere(agentId: string, verified: VerifiedAgent): Promise<string | undefined> {
    const { store, tenant, replicaId } = this.#options;
    if (!store.info.shared) return undefined;
    const there = await store.getAgent(tenant, agentId);
    const key: unknown = there?.registration[KEY_FIELD];
    if (there?.replicaId === undefined || there.replicaId === replicaId || typeof key !== "string") return undefined;
    return key === verified.keySha256 || verified.sameAs.includes(key) ? undefined : key;
  }

  async #checkLegacy(answer: Answer): Promise<void> {
    const { id } = answer.registration;
    const { legacy } = this.#options;
    const why = legacy === undefined ? "nobody is let in without an identity" : await legacy.why(id);
    if (why === undefined) return;
    await this.#refused(answer, "IDENTITY_REQUIRED", why, {});
    throw new TransporterError("IDENTITY_REQUIRED", `agent ${id} is not let in: ${why}`);
  }

  async #refused({ registration, origin }: Answer, code: ErrorCode, reason: string, details: Record<string, unknown>): Promise<void> {
    await this.#options.security?.refusals.note({
      action: "proof_refused",
      code,
      ...origin,
      principal: "unknown",
      agentId: registration.id,
      details: { reason, ...details },
    });
  }

  get #identities(): Security["identities"] {
    const { security } = this.#options;
    if (security === undefined) throw new Error("a listener asks for proof, and there is nobody to check it");
    return security.identities;
  }
}

/** Whether two keys are of one identity: the same, or before and after a renewal. */
function isSame(one: VerifiedAgent, other: VerifiedAgent): boolean {
  return one.keySha256 === other.keySha256 || one.sameAs.includes(other.keySha256) || other.sameAs.includes(one.keySha256);
}

/** True when an agent is not let in, and was told so; false for what is no refusal. */
export function turnedAway(peer: Peer, error: unknown, log: Logger): boolean {
  const close = error instanceof TransporterError ? CLOSE_OF[error.code] : undefined;
  if (!(error instanceof TransporterError) || close === undefined) return false;
  const { code, message } = error;
  log.warn("Agent refused", { remote_address: peer.remoteAddress, code, error: message });
  peer.send(JSON.stringify({ error: message, code }));
  peer.close(close, code);
  return true;
}
