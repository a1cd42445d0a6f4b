import type {
  BrowserSession,
  CertificateLogin,
  ChallengeFrame,
  CreatedToken,
  EnrolmentAnswer,
  EnrolmentRequest,
  EnrolmentView,
  ErrorCode,
  IdentityView,
  Nonce,
  Proof,
  RenewalRequest,
  ShortToken,
  TokenKind,
  TokenRequest,
  TokenView,
} from "../protocol/mod.ts";
import type { Principal } from "./principal.ts";

/**
 * What a control plane with identities asks of this room. Each part stands alone, so that a test or an endpoint needs only the one it uses.
 * Everything that refuses throws a TransporterError and has written its audit line before. Whatever checks a secret is rate-limited by address.
 */
export interface Security {
  readonly authenticator: Authenticator;
  readonly tokens: TokenService;
  readonly enrolment: EnrolmentService;
  readonly identities: IdentityService;
  readonly trust: TrustService;
  readonly browserSessions: BrowserSessions;
  /** Where other rooms tell what they refused, so that it stands in the audit once, and counted where it is much. */
  readonly refusals: { note(refusal: RefusedAccess): Promise<void> };
  /** A document of this key was written by somebody: what is remembered of it is looked at anew, and whom it ends is told to the listeners. */
  documentChanged(kind: string, id: string): void;
  /** Words may have been lost: everything is looked at anew. */
  gap(): void;
  /** Calls back with `Principal.credential` of what counts no more (token, `agent:ID`), or with undefined: all are to be asked again. Answers how to stop that. */
  onEnded(listener: (credential: string | undefined) => void): () => void;
  start(): void;
  stop(): Promise<void>;
}

/** What another room refused somebody who is known here. Never with a secret. */
export interface RefusedAccess {
  /** Such as `access_refused`. */
  readonly action: string;
  readonly code: ErrorCode;
  readonly address: string;
  readonly requestId: string;
  readonly principal: string;
  readonly agentId?: string;
  readonly eventId?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

/** What a request says of who sent it. */
export interface Credentials {
  readonly method: string;
  readonly authorization: string | null;
  readonly cookie: string | null;
  /** `X-CSRF-Token`. */
  readonly csrf: string | null;
  readonly address: string;
  readonly requestId: string;
}

export interface Authenticator {
  /**
   * Who asks. At once where it is known already, which is nearly always. UNAUTHENTICATED (also for no credentials), TOO_MANY_ATTEMPTS,
   * CSRF_REQUIRED, STORE_UNAVAILABLE.
   */
  authenticate(credentials: Credentials): Principal | Promise<Principal>;
  /** Still good? For streams that stand long. */
  isCurrent(principal: Principal): boolean | Promise<boolean>;
  challenge(): Nonce;
  /** A client certificate becomes a token for some minutes. UNAUTHENTICATED, TOO_MANY_ATTEMPTS. */
  certificateLogin(login: CertificateLogin, from: Origin): Promise<ShortToken>;
}

/** Where something came from, for the audit. */
export interface Origin {
  readonly address: string;
  readonly requestId: string;
}

export interface TokenService {
  /** INVALID_REQUEST; ACCESS_DENIED where it would give more than its maker has. */
  create(request: TokenRequest, by: Principal, from: Origin): Promise<CreatedToken>;
  list(query: { readonly kind?: TokenKind; readonly after?: string; readonly limit: number }): Promise<readonly TokenView[]>;
  get(id: string): Promise<TokenView | undefined>;
  /** TOKEN_NOT_FOUND. One that is revoked already stays so. */
  revoke(id: string, by: Principal, from: Origin): Promise<TokenView>;
}

export interface EnrolmentService {
  /** `bearer`: an enrolment token, or a ServiceAccount's token. ENROLMENT_REFUSED, INVALID_CSR, IDENTITY_CONFLICT, ENROLMENT_DISABLED, TOO_MANY_ATTEMPTS. */
  request(request: EnrolmentRequest, bearer: string, from: Origin): Promise<EnrolmentAnswer>;
  /** IDENTITY_REFUSED, IDENTITY_EXPIRED (past the grace), IDENTITY_REVOKED, INVALID_CSR, ENROLMENT_DISABLED. */
  renew(request: RenewalRequest, from: Origin): Promise<EnrolmentAnswer>;
  list(): Promise<readonly EnrolmentView[]>;
  /** ENROLMENT_NOT_FOUND; EVENT-like conflicts as IDENTITY_CONFLICT. */
  decide(id: string, approve: boolean, by: Principal, from: Origin): Promise<EnrolmentView>;
}

/** An agent that has shown who it is. */
export interface VerifiedAgent {
  readonly principal: Principal;
  /** Hex, of the key's SubjectPublicKeyInfo. */
  readonly keySha256: string;
  /** The keys that are this agent's as well: before and after a renewal. Two connections with keys of one set are one agent. */
  readonly sameAs: readonly string[];
  readonly serial: string;
  readonly expiresAtMs: number;
  /** Go over what the agent says of itself. */
  readonly labels: Readonly<Record<string, string>>;
}

export interface IdentityService {
  challenge(): ChallengeFrame;
  /**
   * Whether `agentId` is who it says, by its proof of this challenge. `channels`: what `channel` may say on this listener beside `none`.
   * IDENTITY_REQUIRED, IDENTITY_REFUSED, IDENTITY_EXPIRED, IDENTITY_REVOKED, TOO_MANY_ATTEMPTS.
   */
  verify(of: {
    readonly agentId: string;
    readonly proof: Proof | null | undefined;
    readonly challenge: ChallengeFrame;
    readonly ageMs: number;
    readonly channels: readonly string[];
    readonly from: Origin;
  }): Promise<VerifiedAgent>;
  /** Whether an agent that was verified may stay, and until when; undefined: not any more. */
  still(agentId: string, keySha256: string): Promise<{ readonly expiresAtMs: number } | undefined>;
  get(agentId: string): Promise<IdentityView | undefined>;
  list(query: { readonly after?: string; readonly limit: number }): Promise<readonly IdentityView[]>;
  /** IDENTITY_NOT_FOUND. */
  revoke(agentId: string, by: Principal, from: Origin): Promise<IdentityView>;
}

/** What a listener needs to speak TLS, PEM. */
export interface TlsMaterial {
  readonly cert: string;
  readonly key: string;
  /** Who issues agents' certificates. */
  readonly clientCas: string;
  /** `tls-server-end-point:…` of `cert`. */
  readonly channel: string;
}

export interface TrustService {
  /** What agents and people are to trust: PEM, and `sha256:` pins in the same order. */
  bundle(): { readonly pem: string; readonly pins: readonly string[] };
  tls(): TlsMaterial;
  /** Files have changed and are good: `tls()` and `bundle()` answer anew. A file that is not good is logged and left. */
  onChange(listener: () => void): () => void;
  /** Looks at the files now. */
  reload(): Promise<void>;
  /** For people: warnings such as a certificate that is about to run out. */
  findings(): readonly { readonly level: "ok" | "warning" | "error"; readonly name: string; readonly message: string }[];
}

export interface BrowserSessions {
  /** `cookie`: the whole Set-Cookie header. */
  begin(principal: Principal, from: Origin): Promise<{ readonly session: BrowserSession; readonly cookie: string }>;
  /** Answers the Set-Cookie header that removes it. */
  end(cookie: string | null, from: Origin): Promise<string>;
}
