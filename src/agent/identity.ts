import { Backoff, type Logger, messageOf, type Ports, type TimerHandle, toTransporterError, TransporterError } from "../kit/mod.ts";
import {
  agentStatement,
  type ChallengeFrame,
  type EnrolmentAnswer,
  type ErrorCode,
  formatTimestamp,
  type Proof,
  renewalStatement,
} from "../protocol/mod.ts";
import type * as Security from "../security/mod.ts";
import { askedMs, enrol, patiently } from "./enrolment.ts";
import type { EnrolmentApi } from "./enrolment-api.ts";
import type { FileChange, FileTexts, IdentityHome } from "./identity-files.ts";
import { checkSuccessor, filesOf, type Identity, identityOf, keySha256, readIdentity, renewalTime } from "./identity-record.ts";
import { IDENTITY_TIMES } from "./identity-times.ts";

export interface IdentityOptions {
  readonly agentId: string;
  readonly home: IdentityHome;
  readonly api: Pick<EnrolmentApi, "pinnedCa" | "enrol" | "renew">;
  /** `sha256:` and hex: what a CA of the installation must hash to. */
  readonly caHash: string | undefined;
  /** PEM of CAs to trust besides those of the enrolment; before it, and without a hash, instead of the system's. */
  readonly caPem: string | undefined;
  /** What lets the agent in the first time, asked for when it is needed: an enrolment token, or a ServiceAccount's. */
  readonly token: () => Promise<string | undefined>;
  readonly ports: Ports;
  readonly log: Logger;
  /** Control planes show who they are; false where any certificate is taken. */
  readonly checked: boolean;
  /** There is another identity: the next connection shows it. */
  readonly onChange: () => void;
}

type Signing = Pick<typeof Security, "csrSha256" | "makeCsr" | "makeKey" | "signText">;

/** Refusals after which the same key is never taken again. */
const HELPLESS: ReadonlySet<ErrorCode> = new Set([
  "IDENTITY_EXPIRED",
  "IDENTITY_REVOKED",
  "IDENTITY_REFUSED",
  "IDENTITY_NOT_FOUND",
  "IDENTITY_CONFLICT",
]);
const FRESH_TOKEN =
  "Make a token with `transporter token create --agent ID` and give it to the agent as TRANSPORTER_ENROLMENT_TOKEN or --enrolment-token-file; a file is read again by itself.";

/**
 * Keeps who the agent is: finds its identity or has it enrolled, shows it, has it renewed in time, and comes back where that was too late.
 * The key never leaves the place where it is kept, but for the signature it makes.
 */
export class IdentityKeeper {
  readonly #options: IdentityOptions;
  readonly #stopped = new AbortController();
  /** Loaded when there is an identity, or is to be one: an agent as in 0.1 needs no memory for it. */
  #security: Signing | undefined;
  #identity: Identity | undefined;
  #nextKey: string | undefined;
  #timer: TimerHandle | undefined;
  #renewing: Promise<void> | undefined;
  #backoff: Backoff;
  /** Writes, one after the other. */
  #writing: Promise<unknown> = Promise.resolve();
  /** When a renewal was last tried because a connection was refused; monotonic. */
  #refusedMs = Number.NEGATIVE_INFINITY;
  /** Only a fresh token helps, which is looked for now and then. */
  #helpless = false;
  /** A token that was refused is not tried again. */
  #refusedToken: string | undefined;

  constructor(options: IdentityOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: IDENTITY_TIMES.retryFirst, maxMs: IDENTITY_TIMES.retryMax }, options.ports.random);
  }

  /** Undefined until there is one. */
  get identity(): Identity | undefined {
    return this.#identity;
  }

  /** What a control plane's certificate has to come from. */
  get trust(): string | undefined {
    const { caPem } = this.#options;
    if (this.#identity === undefined) return caPem;
    return caPem === undefined ? this.#identity.trust : `${this.#identity.trust.trimEnd()}\n${caPem}`;
  }

  /**
   * Finds the agent's identity, or has it enrolled, which may take until somebody approves. True once there is one; false where there is
   * none, and no token to get one with: an agent as in 0.1. Throws what no waiting cures: CA_MISMATCH, ENROLMENT_REFUSED, IDENTITY_CONFLICT,
   * ENROLMENT_DISABLED, FILE_UNREADABLE, FORBIDDEN, and the reason of `stop`.
   */
  async open(): Promise<boolean> {
    const { log, home, ports, token } = this.#options;
    const texts = await patiently({ ports, log, signal: this.#stopped.signal }, "The agent's identity cannot be read yet", () =>
      home.read(),
    );
    try {
      this.#take(texts);
    } catch (error) {
      if ((await token().catch(() => undefined)) === undefined) {
        throw new TransporterError("IDENTITY_REFUSED", `the identity in ${home.location} cannot be used: ${messageOf(error)}`, {
          cause: error,
          remedy: `Give each agent a place of its own. If this one is damaged, remove it. ${FRESH_TOKEN}`,
        });
      }
      log.warn("The agent's identity cannot be used, and it is enrolled anew", { location: home.location, error: messageOf(error) });
    }
    if (this.#identity === undefined) {
      const bearer = await token();
      if (bearer === undefined) return false;
      await this.#load();
      await this.#enrol(bearer);
    } else {
      await this.#load();
      log.info("Agent has an identity", { location: home.location, expires_at: formatTimestamp(this.#identity.expiresAtMs) });
      if (this.#identity.expiresAtMs <= ports.clock.now()) await this.#renewNow();
      else this.#schedule();
    }
    return true;
  }

  async #load(): Promise<Signing> {
    this.#security ??= await import("../security/mod.ts");
    return this.#security;
  }

  /** Resolves when what was being written is written. */
  async stop(): Promise<void> {
    this.#stopped.abort(new Error("the agent is stopping"));
    this.#timer?.cancel();
    await this.#renewing;
    await this.#writing;
  }

  /** The answer to a challenge. Throws IDENTITY_REFUSED where it comes from another installation than the one that enrolled the agent. */
  prove(challenge: ChallengeFrame, channel: string): Proof {
    const [identity, security] = [this.#identity, this.#security];
    if (identity === undefined || security === undefined) throw new TransporterError("IDENTITY_REQUIRED", "the agent has no identity");
    const { audience, nonce } = challenge;
    if (identity.audience !== undefined && identity.audience !== audience)
      throw new TransporterError("IDENTITY_REFUSED", "the challenge is of another installation than the one that enrolled this agent");
    const { certificate, certificateSha256, key } = identity;
    const statement = agentStatement({ audience, nonce, agentId: this.#options.agentId, certificateSha256, channel });
    return { certificate, nonce, channel, signature: security.signText(statement, key) };
  }

  /** The control plane says over a checked connection what is to be trusted from now on. */
  trusts(bundle: string, renew: boolean): void {
    const [{ log }, identity] = [this.#options, this.#identity];
    if (identity === undefined || identity.audience === undefined) return;
    let cas: number;
    try {
      cas = checkSuccessor(bundle, identity.trust);
    } catch (error) {
      log.error("What the Control Plane says is to be trusted cannot be taken, and is left aside", { error: messageOf(error) });
      return;
    }
    // What anybody may have said must not outlive the run that took it from anybody.
    if (bundle !== identity.trust && this.#options.checked) {
      this.#identity = { ...identity, trust: bundle };
      log.info("Other CAs are trusted from now on", { cas });
      this.#keepTrust(bundle).catch((error: unknown) =>
        log.error("What is to be trusted could not be kept, and is lost with a restart", { error: messageOf(error) }),
      );
    }
    if (renew) void this.#renewNow();
  }

  async #keepTrust(bundle: string): Promise<void> {
    while (!(await this.#write([["trust.pem", bundle]]))) if ((await this.#options.home.read())["trust.pem"] === bundle) return;
  }

  /** The control plane does not let the agent in, or not any more. */
  unwelcome(code: string | undefined, reason: string): void {
    const { log } = this.#options;
    const identity = this.#identity;
    if (identity === undefined) return;
    if (code === "IDENTITY_CONFLICT")
      log.error("Another key has this agent's id", {
        reason,
        remedy: "Give one of the two another id, or revoke the identity and enrol the right one.",
      });
    else if (identity.audience === undefined)
      log.error("This agent's certificate does not let it in", {
        reason,
        remedy: "Look at the control plane's audit; whoever issues it has to renew it.",
      });
    else if (code !== "TOO_MANY_ATTEMPTS") void this.#afterRefusal();
  }

  /** Another process of this agent may have a newer identity; else a renewal says how it stands, or mends it for whoever merely came too late. */
  async #afterRefusal(): Promise<void> {
    const nowMs = this.#options.ports.clock.monotonic();
    try {
      if (await this.#reread()) return;
    } catch (error) {
      this.#options.log.warn("The agent's identity cannot be read again", { error: messageOf(error) });
    }
    // What is refused for another reason than its time must not be renewed over and over.
    if (this.#helpless || nowMs - this.#refusedMs < IDENTITY_TIMES.helplessMin) return;
    this.#refusedMs = nowMs;
    await this.#renewNow();
  }

  #take(texts: FileTexts): boolean {
    const { identity, nextKey, promoted } = readIdentity(this.#options.agentId, texts);
    this.#nextKey = nextKey;
    if (identity === undefined) return false;
    const isOther = identity.certificateSha256 !== this.#identity?.certificateSha256;
    this.#identity = identity;
    this.#helpless &&= !isOther;
    // Not more than tidying up: it is found as it is, too.
    if (promoted)
      void this.#write([
        ["key.pem", identity.key],
        ["next-key.pem", null],
      ]).catch(() => undefined);
    return isOther;
  }

  /** True where what lies there is another identity than before; it is the agent's from now on. */
  async #reread(): Promise<boolean> {
    const isOther = this.#take(await this.#options.home.read());
    if (isOther) {
      this.#options.log.info("Agent has a new identity", { expires_at: formatTimestamp(this.#identity?.expiresAtMs ?? 0) });
      this.#options.onChange();
      this.#schedule();
    }
    return isOther;
  }

  async #enrol(bearer: string): Promise<void> {
    const { api, caHash, caPem, log, ports, agentId, token } = this.#options;
    const { signal } = this.#stopped;
    const patience = { ports, log, signal };
    const pinned =
      caHash === undefined
        ? undefined
        : await patiently(patience, "The control plane's CA cannot be asked for yet", () => api.pinnedCa(caHash, signal));
    // Whoever was enrolled before trusts what that told it, too: the hash may be of a CA that is gone by now.
    const trusted = [pinned ?? (this.#identity === undefined ? caPem : undefined), this.#identity === undefined ? undefined : this.trust];
    const ca = trusted.filter((pem) => pem !== undefined).join("\n");
    const enrolled = await enrol({
      ...patience,
      agentId,
      api,
      token,
      bearer,
      ca: ca === "" ? undefined : ca,
      key: () => this.#haveNextKey(),
      denied: () => this.#dropNextKey(),
    });
    if (enrolled !== undefined) await this.#keep(enrolled.key, enrolled.answer, "Agent is enrolled");
  }

  /** A key to ask with, kept before it is used: an answer that is lost can be asked for again. Undefined where there is another identity by now. */
  async #haveNextKey(): Promise<string | undefined> {
    while (this.#nextKey === undefined) {
      const { makeKey } = await this.#load();
      const key = makeKey();
      if (await this.#write([["next-key.pem", key]])) this.#nextKey = key;
      else if (await this.#reread()) return undefined;
    }
    return this.#nextKey;
  }

  /** What was denied stays denied: another request needs another key. */
  async #dropNextKey(): Promise<void> {
    this.#nextKey = undefined;
    await this.#write([["next-key.pem", null]]);
  }

  async #keep(key: string, answer: EnrolmentAnswer, message: string): Promise<void> {
    const { agentId, ports, log, home, onChange } = this.#options;
    const nowMs = ports.clock.now();
    const { certificate = "", trust_bundle: trust, audience, agent_urls: agentUrls } = answer;
    const renewAtMs = renewalTime(certificate, nowMs, ports.random.float());
    const identity = { ...identityOf(agentId, { key, certificate, trust, audience, agentUrls, renewAtMs }), audience };
    try {
      // Refused where somebody else wrote since: another process of this agent, or a hand that touched something else of it.
      while (!(await this.#write(filesOf(agentId, identity, nowMs)))) if (await this.#reread()) return;
    } catch (error) {
      // It is good all the same, and the key lies there: after a restart the same request is answered alike.
      log.error("The agent's identity could not be kept", { location: home.location, error: messageOf(error) });
    }
    this.#identity = identity;
    this.#nextKey = undefined;
    this.#helpless = false;
    this.#backoff.reset();
    log.info(message, {
      location: home.location,
      key_sha256: keySha256(key),
      expires_at: formatTimestamp(identity.expiresAtMs),
      renew_at: formatTimestamp(renewAtMs),
    });
    onChange();
    this.#schedule();
  }

  #write(changes: readonly FileChange[]): Promise<boolean> {
    const written = this.#writing.then(() => this.#options.home.write(changes));
    this.#writing = written.catch(() => undefined);
    return written;
  }

  #schedule(afterMs?: number): void {
    const { ports } = this.#options;
    this.#timer?.cancel();
    const identity = this.#identity;
    if (identity === undefined || this.#stopped.signal.aborted) return;
    if (identity.renewAtMs === undefined) {
      this.#timer = ports.timers.after(IDENTITY_TIMES.reread, () => void this.#lookAgain(), { background: true });
      return;
    }
    const waitMs = afterMs ?? identity.renewAtMs - ports.clock.now();
    this.#timer = ports.timers.after(
      Math.min(Math.max(waitMs, 0), IDENTITY_TIMES.look),
      () => {
        if (waitMs <= IDENTITY_TIMES.look) void this.#renewNow();
        else this.#schedule();
      },
      { background: true },
    );
  }

  async #lookAgain(): Promise<void> {
    await this.#reread().catch((error: unknown) =>
      this.#options.log.warn("The agent's identity cannot be read again", { error: messageOf(error) }),
    );
    this.#schedule();
  }

  /** One attempt at a time; never rejects. What comes of it is logged, and the next is scheduled. */
  #renewNow(): Promise<void> {
    this.#renewing ??= this.#renew()
      .catch((error: unknown) => this.#failed(toTransporterError(error)))
      .finally(() => {
        this.#renewing = undefined;
      });
    return this.#renewing;
  }

  async #renew(): Promise<void> {
    if (this.#stopped.signal.aborted || this.#identity?.audience === undefined) return;
    const nextKey = await this.#haveNextKey();
    if (nextKey === undefined) return;
    const { key, certificate, certificateSha256, trust } = this.#identity;
    const { csrSha256, makeCsr, signText } = await this.#load();
    const csr = makeCsr(nextKey);
    const signature = signText(renewalStatement({ certificateSha256, csrSha256: csrSha256(csr) }), key);
    const answer = await this.#options.api.renew({ certificate, csr, signature }, this.trust ?? "", this.#stopped.signal);
    if (answer.status !== "issued") throw new TransporterError("CP_ANSWER", `the renewal is ${answer.status}`);
    if (this.#options.checked) checkSuccessor(answer.trust_bundle, trust);
    await this.#keep(nextKey, answer, "Agent's certificate is renewed");
  }

  async #failed(error: TransporterError): Promise<void> {
    const { log, ports } = this.#options;
    if (this.#stopped.signal.aborted) return;
    const expiresAtMs = this.#identity?.expiresAtMs ?? 0;
    const about = { error: error.message, code: error.code, expires_at: formatTimestamp(expiresAtMs) };
    if (!HELPLESS.has(error.code)) {
      // A certificate of minutes has no time for pauses that are right for one of days.
      const leftMs = expiresAtMs - ports.clock.now();
      const mostMs = leftMs > 0 ? Math.max(IDENTITY_TIMES.retryFirst, leftMs / 10) : IDENTITY_TIMES.retryMax;
      const waitMs = askedMs(error) + Math.min(IDENTITY_TIMES.retryFirst / 2 + this.#backoff.next(), mostMs);
      log.warn("The agent's certificate could not be renewed yet", { ...about, retry_in_ms: Math.round(waitMs) });
      this.#schedule(waitMs);
      return;
    }
    const { random } = ports;
    const waitMs = IDENTITY_TIMES.helplessMin + random.float() * (IDENTITY_TIMES.helplessMax - IDENTITY_TIMES.helplessMin);
    if (await this.#enrolAnew()) return;
    this.#helpless = true;
    log.error("The agent's certificate is not renewed any more, and only a fresh token helps", {
      ...about,
      remedy: FRESH_TOKEN,
      retry_in_ms: Math.round(waitMs),
    });
    this.#schedule(waitMs);
  }

  /** With a token that was not refused yet, where there is one. */
  async #enrolAnew(): Promise<boolean> {
    const { log, token } = this.#options;
    const bearer = await token().catch(() => undefined);
    if (bearer === undefined || bearer === this.#refusedToken) return false;
    try {
      await this.#enrol(bearer);
      return true;
    } catch (error) {
      if (this.#stopped.signal.aborted) return true;
      this.#refusedToken = bearer;
      log.error("The agent's enrolment token does not help", { error: messageOf(error) });
      return false;
    }
  }
}
