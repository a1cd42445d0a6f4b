import type { Role } from "../protocol/mod.ts";

/** Fetches a small text by https (http on loopback only). Follows no redirect; throws whatever went wrong. */
export type FetchText = (
  url: string,
  options: { readonly ca: string | undefined; readonly maxBytes: number; readonly timeoutMs: number },
) => Promise<string>;

/** An issuer of JWTs, and what of its tokens counts here. */
export interface OidcOptions {
  readonly issuer: string;
  readonly audience: string;
  /** Asymmetric ones only: RS256, ES256, EdDSA…; never `none` or HS256. */
  readonly algorithms: readonly string[];
  /** Where its keys are: a URL or a file; by the issuer's discovery document when absent. */
  readonly jwks?: string;
  readonly usernameClaim: string;
  /** A claim by its name, or `a.b` for one inside another. */
  readonly rolesClaim: string;
  /** Which value of that claim gives which role; of several the one that may most. */
  readonly roles: readonly { readonly role: Exclude<Role, "agent">; readonly value: string }[];
  /** PEM file of who vouches for the issuer's own server. */
  readonly caFile?: string;
}

/** A cluster whose ServiceAccount tokens let agents enrol. */
export interface TrustedCluster {
  readonly name: string;
  readonly issuer: string;
  /** URL or file; by the issuer's discovery document when absent. */
  readonly jwks?: string;
  readonly audience: string;
  /** Patterns of `system:serviceaccount:NAMESPACE:NAME` with `*`. */
  readonly subjects: readonly string[];
  /** The pattern that the agent's id must match. */
  readonly agents: string;
  readonly caFile?: string;
}
