import * as v from "valibot";
import { EventTypeSchema } from "./event.ts";

const Timestamp = v.string();
const Labels = v.record(v.string(), v.string());

/** What a principal may do at all. `docs/security.md` has the table. */
export const RoleSchema = v.picklist(["viewer", "producer", "operator", "admin", "agent"]);
export type Role = v.InferOutput<typeof RoleSchema>;

/** What of it: which agents, and which types of events. What is absent is not restricted; what is there must all hold. */
export const ScopeSchema = v.object({
  /** Ids, in which `*` stands for any characters; one of them has to match. */
  agents: v.optional(v.array(v.string())),
  /** A Kubernetes label selector over the agent's labels. An agent that never came has none. */
  selector: v.optional(v.string()),
  event_types: v.optional(v.array(EventTypeSchema)),
});
export type Scope = v.InferOutput<typeof ScopeSchema>;

export const PrincipalKindSchema = v.picklist(["anonymous", "user", "agent", "system"]);
/** How somebody showed who they are. `none`: nobody has to, here. */
export const PrincipalViaSchema = v.picklist(["none", "token", "oidc", "certificate", "cookie", "proof", "legacy", "queue"]);

/** The answer to `GET /v1/whoami`. */
export const WhoamiSchema = v.object({
  tenant: v.string(),
  name: v.string(),
  kind: PrincipalKindSchema,
  via: PrincipalViaSchema,
  role: RoleSchema,
  scope: v.optional(ScopeSchema),
  expires_at: v.optional(Timestamp),
  /** Whether this control plane asks anybody who they are. */
  secured: v.boolean(),
});
export type Whoami = v.InferOutput<typeof WhoamiSchema>;

/** The answer to `GET /v1/can-i`. */
export const CanISchema = v.object({ allowed: v.boolean(), reason: v.string() });
export type CanI = v.InferOutput<typeof CanISchema>;

/** `user`: for people and programs, again and again. `enrolment`: lets one agent in, once. */
export const TokenKindSchema = v.picklist(["user", "enrolment"]);
export type TokenKind = v.InferOutput<typeof TokenKindSchema>;

/** The body of `POST /v1/tokens`. */
export const TokenRequestSchema = v.object({
  kind: TokenKindSchema,
  /** For people; made up where it is absent. */
  name: v.optional(v.string()),
  /** Of a user token. */
  role: v.optional(RoleSchema),
  scope: v.optional(ScopeSchema),
  /** Of an enrolment token: the id that the agent must have, or a pattern of it with `*`. */
  agent: v.optional(v.string()),
  /** Of an enrolment token: what the agent's labels are, whatever it says of them. */
  labels: v.optional(Labels),
  /** Integer nanoseconds. 90 days for a user token, 15 minutes for an enrolment token when absent. */
  ttl: v.optional(v.number()),
});
export type TokenRequest = v.InferOutput<typeof TokenRequestSchema>;

/** A token as it is shown: all but itself. */
export const TokenViewSchema = v.object({
  /** Public; the second part of the token. */
  id: v.string(),
  kind: TokenKindSchema,
  name: v.string(),
  role: v.optional(RoleSchema),
  scope: v.optional(ScopeSchema),
  agent: v.optional(v.string()),
  labels: v.optional(Labels),
  created_at: Timestamp,
  created_by: v.string(),
  expires_at: Timestamp,
  /** To the minute. */
  last_used_at: v.optional(Timestamp),
  revoked_at: v.optional(Timestamp),
  /** Of an enrolment token: when, and by the agent of which id. */
  used_at: v.optional(Timestamp),
  used_by: v.optional(v.string()),
});
export type TokenView = v.InferOutput<typeof TokenViewSchema>;
export const TokensSchema = v.object({ items: v.array(TokenViewSchema), next_cursor: v.optional(v.string()) });
export type Tokens = v.InferOutput<typeof TokensSchema>;
/** The one time that the token itself is shown. */
export const CreatedTokenSchema = v.object({ token: v.string(), ...TokenViewSchema.entries });
export type CreatedToken = v.InferOutput<typeof CreatedTokenSchema>;

/** The answer to `GET /v1/ca`, which anybody may ask: what to trust, for whoever knows one of its hashes. */
export const CaSchema = v.object({
  /** PEM, the one that issues first. */
  trust_bundle: v.string(),
  /** `sha256:` and the hex digest of each certificate's SubjectPublicKeyInfo, in the same order. */
  pins: v.array(v.string()),
});
export type Ca = v.InferOutput<typeof CaSchema>;

/** The body of `POST /v1/enrolments`, with an enrolment token or a trusted cluster's ServiceAccount token as bearer. */
export const EnrolmentRequestSchema = v.object({
  agent_id: v.string(),
  /** PEM; only its key counts. */
  csr: v.string(),
});
export type EnrolmentRequest = v.InferOutput<typeof EnrolmentRequestSchema>;

/** The body of `POST /v1/enrolments/renew`. The certificate may have run out, within the grace. */
export const RenewalRequestSchema = v.object({
  /** PEM of the certificate that is to be replaced. */
  certificate: v.string(),
  /** PEM, with the new key. */
  csr: v.string(),
  /** Base64: `renewalStatement` signed with the key of `certificate`. */
  signature: v.string(),
});
export type RenewalRequest = v.InferOutput<typeof RenewalRequestSchema>;

/** What both are answered with. `pending`: somebody has to approve; the same request again asks how it stands. */
export const EnrolmentAnswerSchema = v.object({
  status: v.picklist(["issued", "pending", "denied"]),
  /** Of the request, where people see it. */
  id: v.string(),
  /** PEM, the agent's own first. */
  certificate: v.optional(v.string()),
  trust_bundle: v.string(),
  /** Of the installation: what a challenge must name as its audience. */
  audience: v.string(),
  /** Where agents connect; empty: where the agent was told. */
  agent_urls: v.array(v.string()),
  expires_at: v.optional(Timestamp),
  renew_at: v.optional(Timestamp),
});
export type EnrolmentAnswer = v.InferOutput<typeof EnrolmentAnswerSchema>;

/** A request for a certificate that waits for somebody, or was decided. */
export const EnrolmentViewSchema = v.object({
  id: v.string(),
  agent_id: v.string(),
  status: v.picklist(["pending", "approved", "denied"]),
  /** Hex, of the key's SubjectPublicKeyInfo: to be compared with what the agent logs. */
  key_sha256: v.string(),
  /** The token or account that vouched for it. */
  vouched_by: v.string(),
  remote_address: v.string(),
  requested_at: Timestamp,
  decided_at: v.optional(Timestamp),
  decided_by: v.optional(v.string()),
});
export type EnrolmentView = v.InferOutput<typeof EnrolmentViewSchema>;
export const EnrolmentsSchema = v.object({ items: v.array(EnrolmentViewSchema) });
export type Enrolments = v.InferOutput<typeof EnrolmentsSchema>;

/** Who an agent is, as this installation knows it. */
export const IdentityViewSchema = v.object({
  agent_id: v.string(),
  enrolled_at: Timestamp,
  enrolled_by: v.string(),
  labels: Labels,
  revoked_at: v.optional(Timestamp),
  /** Newest first. */
  certificates: v.array(
    v.object({
      serial: v.string(),
      key_sha256: v.string(),
      /** Of the CA that issued it. */
      ca_key_sha256: v.optional(v.string()),
      issued_at: Timestamp,
      expires_at: Timestamp,
      revoked_at: v.optional(Timestamp),
    }),
  ),
});
export type IdentityView = v.InferOutput<typeof IdentityViewSchema>;
export const IdentitiesSchema = v.object({ items: v.array(IdentityViewSchema), next_cursor: v.optional(v.string()) });
export type Identities = v.InferOutput<typeof IdentitiesSchema>;

/** The answer to `POST /v1/challenges`: to be signed within a minute, once. */
export const NonceSchema = v.object({ nonce: v.string(), audience: v.string(), expires_at: Timestamp });
export type Nonce = v.InferOutput<typeof NonceSchema>;
/** The body of `POST /v1/certificate-logins`. */
export const CertificateLoginSchema = v.object({
  nonce: v.string(),
  /** PEM, the own first, then what leads to the CA. */
  certificate: v.string(),
  /** Base64: `loginStatement` signed with the certificate's key. */
  signature: v.string(),
});
export type CertificateLogin = v.InferOutput<typeof CertificateLoginSchema>;
/** A bearer token for some minutes. */
export const ShortTokenSchema = v.object({ token: v.string(), expires_at: Timestamp });
export type ShortToken = v.InferOutput<typeof ShortTokenSchema>;
/** The answer to `POST /v1/session`, which sets the cookie; unsafe methods by cookie need `X-CSRF-Token` with this. */
export const BrowserSessionSchema = v.object({ csrf_token: v.string(), expires_at: Timestamp });
export type BrowserSession = v.InferOutput<typeof BrowserSessionSchema>;

/** The first frame of a control plane that asks who agents are; the agent registers with the `proof` in answer to it. */
export const ChallengeFrameSchema = v.looseObject({
  type: v.literal("challenge"),
  /** Base64url of 32 random bytes; counts once, on this connection, for ten seconds. */
  nonce: v.pipe(v.string(), v.nonEmpty()),
  audience: v.string(),
});
export type ChallengeFrame = v.InferOutput<typeof ChallengeFrameSchema>;

/** In a registration: that the agent has the key of its certificate, here and now. */
export const ProofSchema = v.object({
  /** PEM, the agent's own first. */
  certificate: v.string(),
  nonce: v.string(),
  /** `tls-server-end-point:` and the hex SHA-256 of the server's certificate that the agent saw (RFC 5929); `none` where it saw none. */
  channel: v.string(),
  /** Base64 of `agentStatement`, signed: ECDSA P-256 with SHA-256, DER; or Ed25519; or RSA PKCS#1 v1.5 with SHA-256, by the key's type. */
  signature: v.string(),
});
export type Proof = v.InferOutput<typeof ProofSchema>;

/** What is trusted from now on. Sent after a registration with proof, and when it changes; `renew`: a new certificate is to be asked for now. */
export const TrustFrameSchema = v.looseObject({
  type: v.literal("trust"),
  trust_bundle: v.string(),
  renew: v.optional(v.boolean()),
});
export type TrustFrame = v.InferOutput<typeof TrustFrameSchema>;

/** What an agent signs to be let in. An array as JSON: no two contents have one text. */
export function agentStatement(of: {
  readonly audience: string;
  readonly nonce: string;
  readonly agentId: string;
  /** Hex SHA-256 of the certificate's DER. */
  readonly certificateSha256: string;
  readonly channel: string;
}): string {
  return JSON.stringify(["transporter agent proof 1", of.audience, of.nonce, of.agentId, of.certificateSha256, of.channel]);
}

/** What an agent signs, with its old key, to have a new certificate. */
export function renewalStatement(of: {
  readonly certificateSha256: string;
  /** Hex, of the CSR's DER. */ readonly csrSha256: string;
}): string {
  return JSON.stringify(["transporter renewal 1", of.certificateSha256, of.csrSha256]);
}

/** What the owner of a client certificate signs to get a token for some minutes. */
export function loginStatement(of: { readonly audience: string; readonly nonce: string; readonly certificateSha256: string }): string {
  return JSON.stringify(["transporter login 1", of.audience, of.nonce, of.certificateSha256]);
}

/** The URI in the subjectAltName of an agent's certificate. */
export function agentUri(agentId: string): string {
  return `transporter://agent/${encodeURIComponent(agentId)}`;
}

/** The agent's id in such a URI; undefined for another. */
export function agentIdOfUri(uri: string): string | undefined {
  const prefix = "transporter://agent/";
  if (!uri.startsWith(prefix)) return undefined;
  const rest = uri.slice(prefix.length);
  if (rest === "") return undefined;
  try {
    const id = decodeURIComponent(rest);
    // One spelling only, or two certificates could differ and mean the same.
    return encodeURIComponent(id) === rest ? id : undefined;
  } catch {
    return undefined;
  }
}
