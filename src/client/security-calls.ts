import {
  type Ca,
  CaSchema,
  type CanI,
  CanISchema,
  type CertificateLogin,
  type CreatedToken,
  CreatedTokenSchema,
  type EnrolmentView,
  EnrolmentViewSchema,
  type Enrolments,
  EnrolmentsSchema,
  type Identities,
  IdentitiesSchema,
  type IdentityView,
  IdentityViewSchema,
  type Nonce,
  NonceSchema,
  type ShortToken,
  ShortTokenSchema,
  type TokenKind,
  type TokenRequest,
  type TokenView,
  TokenViewSchema,
  type Tokens,
  TokensSchema,
  type Whoami,
  WhoamiSchema,
} from "../protocol/mod.ts";
import type { CallOptions, Caller } from "./caller.ts";

export interface CanIQuery {
  /** Such as `events:create`. */
  readonly action: string;
  readonly agent?: string | undefined;
  readonly type?: string | undefined;
}

export interface TokenFilter {
  readonly kind?: TokenKind | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
}

/** Who one is, who else may come in, and letting them in and out. */
export interface SecurityClient {
  whoami(options?: CallOptions): Promise<Whoami>;
  canI(query: CanIQuery, options?: CallOptions): Promise<CanI>;
  /** The one time that the token itself is told. */
  createToken(request: TokenRequest, options?: CallOptions): Promise<CreatedToken>;
  listTokens(filter: TokenFilter, options?: CallOptions): Promise<Tokens>;
  revokeToken(id: string, options?: CallOptions): Promise<TokenView>;
  listEnrolments(options?: CallOptions): Promise<Enrolments>;
  /** Approves or denies what waits for it. */
  decideEnrolment(id: string, approve: boolean, options?: CallOptions): Promise<EnrolmentView>;
  listIdentities(
    filter: { readonly limit?: number | undefined; readonly cursor?: string | undefined },
    options?: CallOptions,
  ): Promise<Identities>;
  getIdentity(agentId: string, options?: CallOptions): Promise<IdentityView>;
  revokeIdentity(agentId: string, options?: CallOptions): Promise<IdentityView>;
  /** What to trust; told to anybody, so nothing secret is sent along. */
  ca(options?: CallOptions): Promise<Ca>;
  /** What the owner of a client certificate signs. Told to anybody. */
  challenge(options?: CallOptions): Promise<Nonce>;
  certificateLogin(login: CertificateLogin, options?: CallOptions): Promise<ShortToken>;
}

export function securityCalls({ get, change, segment, withQuery }: Caller): SecurityClient {
  return {
    whoami: (call) => get(WhoamiSchema, "/v1/whoami", "asking who I am", call),
    canI: (query, call) =>
      get(
        CanISchema,
        withQuery("/v1/can-i", [
          ["action", query.action],
          ["agent", query.agent],
          ["type", query.type],
        ]),
        "asking what I may do",
        call,
      ),
    createToken: (request, call) => change(CreatedTokenSchema, "POST", "/v1/tokens", "making a token", { ...call, body: request }),
    listTokens: (filter, call) =>
      get(
        TokensSchema,
        withQuery("/v1/tokens", [
          ["kind", filter.kind],
          ["limit", filter.limit],
          ["cursor", filter.cursor],
        ]),
        "listing tokens",
        call,
      ),
    revokeToken: (id, call) => change(TokenViewSchema, "DELETE", `/v1/tokens/${segment(id)}`, `revoking token ${id}`, call),
    listEnrolments: (call) => get(EnrolmentsSchema, "/v1/enrolments", "listing enrolments", call),
    decideEnrolment: (id, approve, call) =>
      change(
        EnrolmentViewSchema,
        "POST",
        `/v1/enrolments/${segment(id)}/${approve ? "approve" : "deny"}`,
        `${approve ? "approving" : "denying"} enrolment ${id}`,
        call,
      ),
    listIdentities: (filter, call) =>
      get(
        IdentitiesSchema,
        withQuery("/v1/identities", [
          ["limit", filter.limit],
          ["cursor", filter.cursor],
        ]),
        "listing identities",
        call,
      ),
    getIdentity: (agentId, call) =>
      get(IdentityViewSchema, `/v1/identities/${segment(agentId)}`, `reading the identity of agent ${agentId}`, call),
    revokeIdentity: (agentId, call) =>
      change(IdentityViewSchema, "POST", `/v1/identities/${segment(agentId)}/revoke`, `revoking the identity of agent ${agentId}`, call),
    ca: (call) => get(CaSchema, "/v1/ca", "asking for the CA", { ...call, anonymous: true }),
    challenge: (call) => change(NonceSchema, "POST", "/v1/challenges", "asking for a challenge", { ...call, anonymous: true }),
    certificateLogin: (login, call) =>
      change(ShortTokenSchema, "POST", "/v1/certificate-logins", "showing the client certificate", {
        ...call,
        body: login,
        anonymous: true,
      }),
  };
}
