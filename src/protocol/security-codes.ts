import type { CodeEntry } from "./error-kind.ts";

/** Who may come in, and what they may: these codes of the catalogue. */
export const SECURITY_CODES = {
  UNAUTHENTICATED: {
    kind: "denied",
    title: "Nobody known is asking",
    remedy: "Log in with `transporter login`, or give a token by TRANSPORTER_TOKEN or --token-file.",
    httpStatus: 401,
  },
  ACCESS_DENIED: {
    kind: "denied",
    title: "This is not allowed to whoever asks",
    remedy: "See `transporter whoami` and `transporter auth can-i`; ask an administrator for a token with the role or scope.",
  },
  TOO_MANY_ATTEMPTS: {
    kind: "unavailable",
    title: "Too many attempts to come in have failed",
    remedy: "Wait for the seconds in Retry-After and correct the token; each further attempt makes it longer.",
    httpStatus: 429,
  },
  ISSUER_UNAVAILABLE: {
    kind: "unavailable",
    title: "The keys of a token's issuer cannot be had",
    remedy: "Try again; check the issuer's address, its certificate and what --oidc-jwks names. The control plane's log says what failed.",
  },
  CSRF_REQUIRED: {
    kind: "denied",
    title: "A browser's request does not carry its CSRF token",
    remedy: "Send the csrf_token of POST /v1/session as X-CSRF-Token with everything that changes something.",
  },
  INVALID_REQUEST: {
    kind: "invalid",
    title: "The body is not as the schema wants it",
    remedy: "Correct the field that the detail names; /openapi.json has the schema.",
  },
  TOKEN_NOT_FOUND: { kind: "missing", title: "No such token", remedy: "List tokens with `transporter token list`." },
  ENROLMENT_NOT_FOUND: {
    kind: "missing",
    title: "No such request for a certificate",
    remedy: "List them with `transporter get enrolments`; they are removed after a day.",
  },
  ENROLMENT_REFUSED: {
    kind: "denied",
    title: "The agent is not enrolled",
    remedy: "Make a fresh token for this agent's id with `transporter token create --agent ID`; each is good once, and for minutes.",
  },
  ENROLMENT_DISABLED: {
    kind: "conflict",
    title: "This control plane issues no certificates",
    remedy: "Give it the key of its CA (`transporter cp init`), or have the agents' certificates issued by whoever has it.",
  },
  INVALID_CSR: {
    kind: "invalid",
    title: "The certificate request cannot be used",
    remedy: "Send a PEM certificate request that is signed by its own key: ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more.",
  },
  IDENTITY_REQUIRED: {
    kind: "denied",
    title: "The agent did not show who it is",
    remedy: "Enrol the agent: give it a token of `transporter token create --agent ID`.",
    httpStatus: 401,
  },
  IDENTITY_REFUSED: {
    kind: "denied",
    title: "The agent is not who it says",
    remedy: "Its certificate, key or answer to the challenge does not hold; the control plane's audit says which. Enrol it anew.",
  },
  IDENTITY_CONFLICT: {
    kind: "conflict",
    title: "Another key has this agent's id",
    remedy: "Two programs claim one id. Give one of them another id, or revoke the identity and enrol the right one.",
  },
  IDENTITY_EXPIRED: {
    kind: "denied",
    title: "The agent's certificate ran out",
    remedy: "Within the grace the agent renews it by itself; past it only a fresh enrolment token helps.",
  },
  IDENTITY_REVOKED: {
    kind: "denied",
    title: "The agent's identity was revoked",
    remedy: "If that was a mistake, enrol the agent anew with a fresh token.",
  },
  IDENTITY_NOT_FOUND: { kind: "missing", title: "No identity of this id", remedy: "List them with `transporter get identities`." },
  CA_MISMATCH: {
    kind: "denied",
    title: "The control plane is not the one that was meant",
    remedy:
      "The CA's hash differs from --ca-hash: somebody stands between, or the line is for another installation. Nothing secret was sent.",
  },
  ADDRESS_REFUSED: {
    kind: "denied",
    title: "This address is never asked",
    remedy: "Use http:// or https:// and a host that is not link-local or a cloud's metadata service.",
  },
  ENVIRONMENT_REFUSED: {
    kind: "denied",
    title: "The environment weakens the program",
    remedy: "Unset the variable that the detail names.",
  },
  ALREADY_INITIALISED: {
    kind: "conflict",
    title: "There is a CA already",
    remedy: "Use what is there, or name another directory; nothing is overwritten.",
  },
} as const satisfies Record<string, CodeEntry>;
