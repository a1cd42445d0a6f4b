import type { Role } from "../protocol/mod.ts";
import type { IssuerKeys } from "./issuer-keys.ts";
import type { OidcOptions } from "./issuers.ts";
import { checkAlgorithms, verifyJwt } from "./jwt.ts";
import type { Principal } from "./principal.ts";

/** From the one that may most. */
const ORDER: readonly Exclude<Role, "agent">[] = ["admin", "operator", "producer", "viewer"];
const MAX_NAME_CHARS = 200;

export type OidcOutcome = { readonly principal: Principal } | { readonly why: string; readonly denied: boolean };

/** People and programs by the access tokens of an identity provider. */
export class Oidc {
  readonly issuer: string;
  readonly #options: OidcOptions;
  readonly #keys: IssuerKeys;
  readonly #tenant: string;

  /** CONFIG_INVALID */
  constructor(options: OidcOptions, keys: IssuerKeys, tenant: string) {
    checkAlgorithms(options.algorithms);
    this.issuer = options.issuer;
    this.#options = options;
    this.#keys = keys;
    this.#tenant = tenant;
  }

  /** ISSUER_UNAVAILABLE. `denied`: it is somebody, who may nothing here. */
  async verify(token: string, nowMs: number): Promise<OidcOutcome> {
    const { issuer, audience, algorithms, usernameClaim, rolesClaim } = this.#options;
    const outcome = await verifyJwt(token, { issuer, audience, algorithms, keys: this.#keys }, nowMs);
    if ("why" in outcome) return { why: outcome.why, denied: false };
    const { payload } = outcome;
    const user = claimOf(payload, usernameClaim);
    if (typeof user !== "string" || user === "" || user.length > MAX_NAME_CHARS || /[\u0000-\u001f\u007f-\u009f]/.test(user)) {
      return { why: "no usable name", denied: false };
    }
    // An address that nobody has checked is whatever somebody typed.
    if (usernameClaim === "email" && payload["email_verified"] === false) return { why: "email not verified", denied: false };
    const role = this.#roleOf(claimOf(payload, rolesClaim));
    if (role === undefined) return { why: "no role", denied: true };
    return {
      principal: { tenant: this.#tenant, name: `oidc:${user}`, kind: "user", via: "oidc", role, expiresAtMs: payload.exp * 1000 },
    };
  }

  #roleOf(claim: unknown): Role | undefined {
    const values: readonly unknown[] = Array.isArray(claim) ? claim : [claim];
    return ORDER.find((role) => this.#options.roles.some((one) => one.role === role && values.includes(one.value)));
  }
}

/** A claim by its whole name, which may have dots, or else by the way to it. Own properties only: `constructor` is no claim. */
function claimOf(payload: Readonly<Record<string, unknown>>, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  let value: unknown = payload;
  for (const part of name.split(".")) {
    // Of what has no properties this makes an object that has none.
    const holder = Object(value) as Record<string, unknown>;
    if (!Object.hasOwn(holder, part)) return undefined;
    value = holder[part];
  }
  return value;
}
