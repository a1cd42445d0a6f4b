import { type Ports, toTransporterError, TransporterError } from "../kit/mod.ts";
import type { CertificateLogin, ErrorCode, Nonce, ShortToken } from "../protocol/mod.ts";
import { type FoundSession, SESSION_CREDENTIAL, sessionCookie, type StoredBrowserSessions } from "./browser-sessions.ts";
import { type ClientCertificates, SHORT_CREDENTIAL } from "./client-certificates.ts";
import type { Authenticator, Credentials, IdentityService, Origin } from "./gate.ts";
import { claimedIssuer, looksLikeJwt } from "./jwt.ts";
import { Knock } from "./knock.ts";
import { Known, KnownCallers } from "./known-callers.ts";
import type { LastUse } from "./last-use.ts";
import type { Oidc } from "./oidc.ts";
import type { Parts } from "./parts.ts";
import type { Principal } from "./principal.ts";
import { parseToken, sameDigest, sha256Hex } from "./token-format.ts";
import { sweptAtMs } from "./token-records.ts";
import type { Tokens } from "./tokens.ts";

const SAFE_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);
const BEARER = /^bearer +([^\s]+)$/i;
const MAX_HEADER_CHARS = 16_500;
const AGENT_CREDENTIAL = "agent:";

export interface AuthenticatorOptions {
  readonly parts: Parts;
  readonly tokens: Pick<Tokens, "user" | "current">;
  readonly lastUse: Pick<LastUse, "note">;
  readonly sessions: Pick<StoredBrowserSessions, "find" | "isCurrent">;
  readonly certificates: Pick<ClientCertificates, "find" | "isCurrent" | "challenge" | "login">;
  readonly oidc: Oidc | undefined;
  readonly identities: Pick<IdentityService, "get">;
  readonly known: KnownCallers;
}

/** Somebody, or why not. `denied`: it is somebody, who may nothing here; that was no guess. */
type Found = { readonly known: Known } | { readonly why: string; readonly tokenId?: string | undefined; readonly denied?: boolean };

export class StandardAuthenticator implements Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #ports: Ports;
  readonly #known: KnownCallers;
  /** What is being looked at, so that a hundred requests with one token ask the store once. */
  readonly #looking = new Map<string, Promise<Found>>();

  constructor(options: AuthenticatorOptions) {
    this.#options = options;
    this.#ports = options.parts.ports;
    this.#known = options.known;
  }

  authenticate(credentials: Credentials): Principal | Promise<Principal> {
    const { authorization } = credentials;
    const secret = authorization === null ? sessionCookie(credentials.cookie) : bearerOf(authorization);
    if (secret === undefined) {
      return this.#refuse(credentials, "UNAUTHENTICATED", { why: authorization === null ? "no credentials" : "no bearer token" });
    }
    const byCookie = authorization === null;
    const key = sha256Hex(`${byCookie ? "cookie" : "bearer"} ${secret}`);
    const known = this.#known.fresh(key);
    if (known === undefined) return this.#slow(key, secret, byCookie, credentials);
    return csrfHolds(known, credentials) ? known.principal : this.#refuse(credentials, "CSRF_REQUIRED", { why: "no CSRF token" });
  }

  isCurrent(principal: Principal): boolean | Promise<boolean> {
    if ((principal.expiresAtMs ?? Number.POSITIVE_INFINITY) <= this.#ports.clock.now()) return false;
    return principal.credential === undefined ? true : this.credentialIsCurrent(principal.credential);
  }

  /** Whether what is named by `Principal.credential` still counts. */
  async credentialIsCurrent(credential: string): Promise<boolean> {
    const { sessions, certificates, identities, tokens } = this.#options;
    if (credential.startsWith(SESSION_CREDENTIAL)) return sessions.isCurrent(credential.slice(SESSION_CREDENTIAL.length));
    if (credential.startsWith(SHORT_CREDENTIAL)) return certificates.isCurrent(credential.slice(SHORT_CREDENTIAL.length));
    if (credential.startsWith(AGENT_CREDENTIAL)) {
      const identity = await identities.get(credential.slice(AGENT_CREDENTIAL.length));
      return identity !== undefined && identity.revoked_at === undefined;
    }
    return (await tokens.current(credential)) !== undefined;
  }

  challenge(): Nonce {
    return this.#options.certificates.challenge();
  }

  certificateLogin(login: CertificateLogin, from: Origin): Promise<ShortToken> {
    return this.#options.certificates.login(login, from);
  }

  async #slow(key: string, secret: string, byCookie: boolean, credentials: Credentials): Promise<Principal> {
    // Somebody who was right a moment ago guesses nothing, and must not suffer for a neighbour behind the same address who does.
    // Nor does whoever shows what is being looked at already: many connections that begin together with one token are one guess.
    let knock: Knock | undefined;
    if (!this.#known.has(key) && !this.#looking.has(key)) {
      try {
        // Nothing is waited for from here until it is being looked at, so that whoever comes next finds that.
        knock = new Knock(this.#options.parts.attempts, credentials.address);
      } catch (error) {
        await this.#note(credentials, toTransporterError(error).code, { why: "too many attempts" });
        throw error;
      }
    }
    let found: Found;
    try {
      found = await this.#look(key, secret, byCookie);
    } catch (error) {
      knock?.right();
      throw error;
    }
    if ("why" in found && found.denied !== true) return this.#refuse(credentials, "UNAUTHENTICATED", found);
    knock?.right();
    if ("why" in found) return this.#refuse(credentials, "ACCESS_DENIED", found);
    if (!csrfHolds(found.known, credentials)) return this.#refuse(credentials, "CSRF_REQUIRED", { why: "no CSRF token" });
    return found.known.principal;
  }

  #look(key: string, secret: string, byCookie: boolean): Promise<Found> {
    let looking = this.#looking.get(key);
    if (looking === undefined) {
      looking = this.#lookUntilQuiet(key, secret, byCookie).finally(() => this.#looking.delete(key));
      this.#looking.set(key, looking);
    }
    return looking;
  }

  /** What ended while the store was asked would be remembered as good, and nobody would say so again: then it is asked once more. */
  async #lookUntilQuiet(key: string, secret: string, byCookie: boolean): Promise<Found> {
    for (;;) {
      const { endings } = this.#known;
      const found = byCookie ? await this.#byCookie(secret) : await this.#byBearer(secret);
      if ("why" in found) {
        this.#known.forget(key);
        return found;
      }
      if (this.#known.endedSince(endings, found.known.endedBy)) continue;
      this.#known.remember(key, found.known);
      return found;
    }
  }

  async #byCookie(secret: string): Promise<Found> {
    const found: FoundSession = await this.#options.sessions.find(secret);
    if ("why" in found) return found;
    const { principal, csrf, parent } = found;
    return { known: new Known(principal, [principal.credential, parent], csrf) };
  }

  async #byBearer(secret: string): Promise<Found> {
    const { tokens, lastUse, certificates, oidc } = this.#options;
    const parsed = parseToken(secret);
    if (parsed?.type === "user") {
      const found = await tokens.user(secret);
      if ("why" in found) return { why: found.why, tokenId: found.id };
      const { id, record } = found;
      lastUse.note(id, sweptAtMs(record));
      const principal: Principal = {
        tenant: this.#options.parts.tenant,
        name: `token:${record.name}`,
        kind: "user",
        via: "token",
        role: record.role ?? "viewer",
        ...(record.scope === undefined ? {} : { scope: record.scope }),
        credential: id,
        expiresAtMs: record.expiresAtMs,
      };
      return { known: new Known(principal, [id]) };
    }
    if (parsed?.type === "short") {
      const found = await certificates.find(secret);
      return "why" in found ? { ...found, tokenId: parsed.id } : { known: new Known(found.principal, [found.principal.credential]) };
    }
    if (parsed !== undefined) return { why: "wrong kind", tokenId: parsed.id };
    if (!looksLikeJwt(secret)) return { why: "malformed" };
    if (oidc === undefined || claimedIssuer(secret) !== oidc.issuer) return { why: "unknown issuer" };
    const found = await oidc.verify(secret, this.#ports.clock.now());
    return "why" in found ? found : { known: new Known(found.principal, []) };
  }

  /** The answer tells no more than that it does not count; the audit tells why. */
  async #refuse(
    credentials: Credentials,
    code: "UNAUTHENTICATED" | "CSRF_REQUIRED" | "ACCESS_DENIED",
    of: { readonly why: string; readonly tokenId?: string | undefined },
  ): Promise<never> {
    await this.#note(credentials, code, of);
    throw new TransporterError(code, MESSAGES[of.why] ?? REFUSED[code]);
  }

  async #note(
    credentials: Credentials,
    code: ErrorCode,
    of: { readonly why: string; readonly tokenId?: string | undefined },
  ): Promise<void> {
    const { address, requestId } = credentials;
    const details = { why: of.why, ...(of.tokenId === undefined ? {} : { token_id: of.tokenId }) };
    await this.#options.parts.refusals.note({ action: "authentication_refused", code, address, requestId, details });
  }
}

const REFUSED = {
  UNAUTHENTICATED: "the token, or the session, is not known here or counts no more",
  CSRF_REQUIRED: "a session of a browser changes something only with its X-CSRF-Token",
  ACCESS_DENIED: "none of the roles here is given to whoever asks",
} as const;
/** What may be told, as whoever asks knows it anyhow. */
const MESSAGES: Readonly<Record<string, string>> = {
  "no credentials": "there is no token",
  "no bearer token": "the Authorization header holds no bearer token",
  malformed: "the token is none of this control plane's: it is cut off, mistyped, or of somebody else",
};

function bearerOf(header: string): string | undefined {
  return header.length > MAX_HEADER_CHARS ? undefined : BEARER.exec(header)?.[1];
}

/** A page of another origin can make a browser send its cookie, but not a header that it does not know. */
function csrfHolds(known: Known, { method, csrf }: Credentials): boolean {
  if (known.csrf === undefined || SAFE_METHODS.has(method)) return true;
  return csrf !== null && sameDigest(sha256Hex(csrf), sha256Hex(known.csrf));
}
