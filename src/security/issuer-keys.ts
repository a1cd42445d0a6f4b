import type { JSONWebKeySet, LocalJWKSet } from "jose";
import * as v from "valibot";
import { type Logger, messageOf, type Ports, TransporterError } from "../kit/mod.ts";
import type { FetchText } from "./issuers.ts";

/** The keys that an issuer has at some moment. */
export interface KeySet {
  readonly find: LocalJWKSet;
}

export interface IssuerKeysOptions {
  readonly issuer: string;
  /** URL or file; by discovery when absent. */
  readonly jwks: string | undefined;
  /** PEM. */
  readonly ca: string | undefined;
  readonly fetchText: FetchText;
  readonly readText: (path: string) => Promise<string>;
  readonly ports: Ports;
  readonly log: Logger;
}

/** So long a set counts before it is fetched again, so that a key that was taken back goes. */
const FRESH_MS = 10 * 60_000;
/** A file costs nothing. */
const FRESH_FILE_MS = 10_000;
/** Somebody who makes up key ids does not make us ask the issuer more often. */
const UNKNOWN_KEY_MS = 30_000;
/** After a failure; until then everybody is answered from what is known. */
const RETRY_MS = 5_000;
/** While the issuer is away its last keys go on, but not for ever: a key that was taken back must end. */
const STALE_MS = 24 * 3_600_000;
const LIMITS = { maxBytes: 1024 * 1024, timeoutMs: 10_000 } as const;
const MAX_KEYS = 100;

const KeysSchema = v.object({
  keys: v.array(v.looseObject({ kty: v.string() })),
});
const DiscoverySchema = v.object({ issuer: v.string(), jwks_uri: v.string() });

/** Throws CONFIG_INVALID for an address that anybody on the way could answer for. */
export function checkIssuerUrl(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const loopback = url !== undefined && /^(?:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])$/.test(url.hostname);
  if (url?.protocol === "https:" || (url?.protocol === "http:" && loopback)) return;
  throw new TransporterError(
    "CONFIG_INVALID",
    `${JSON.stringify(text.slice(0, 200))} is no https:// address, so its keys could be anybody's`,
    {
      remedy: "Give an https:// address, or a file with the keys.",
    },
  );
}

export function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
}

/** The keys of one issuer: fetched, remembered, and fetched anew when one is asked for that is not among them. */
export class IssuerKeys {
  readonly #options: IssuerKeysOptions;
  readonly #freshMs: number;
  /** With when it was fetched, by the monotonic clock. */
  #held: { readonly set: KeySet; readonly atMs: number } | undefined;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | undefined;

  constructor(options: IssuerKeysOptions) {
    const { jwks, issuer } = options;
    if (jwks === undefined) checkIssuerUrl(issuer);
    else if (isUrl(jwks)) checkIssuerUrl(jwks);
    this.#options = options;
    this.#freshMs = jwks !== undefined && !isUrl(jwks) ? FRESH_FILE_MS : FRESH_MS;
  }

  /** Throws ISSUER_UNAVAILABLE where there are none, or only ones that are too old. */
  async get(): Promise<KeySet> {
    const nowMs = this.#options.ports.clock.monotonic();
    const wanted = nowMs - (this.#held?.atMs ?? Number.NEGATIVE_INFINITY) >= this.#freshMs;
    if (wanted && (this.#fetching !== undefined || nowMs - this.#triedAtMs >= RETRY_MS)) await this.#fetch();
    return this.#known();
  }

  /** Newer keys than `of`, which lacks one; `of` again where there are none to be had yet. */
  async newerThan(of: KeySet): Promise<KeySet> {
    const quietMs = Math.min(UNKNOWN_KEY_MS, this.#freshMs);
    const due = this.#options.ports.clock.monotonic() - this.#triedAtMs >= quietMs;
    if (this.#held?.set === of && (this.#fetching !== undefined || due)) await this.#fetch();
    return this.#held?.set ?? of;
  }

  #known(): KeySet {
    const held = this.#held;
    if (held !== undefined && this.#options.ports.clock.monotonic() - held.atMs < STALE_MS) return held.set;
    throw new TransporterError("ISSUER_UNAVAILABLE", `the keys of the issuer ${this.#options.issuer} cannot be had`);
  }

  /** One at a time, whoever asks. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchOnce().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetchOnce(): Promise<void> {
    const { ports, log, issuer } = this.#options;
    this.#triedAtMs = ports.clock.monotonic();
    try {
      const text = await this.#text();
      const { createLocalJWKSet } = await import("jose");
      this.#held = { set: { find: createLocalJWKSet(keySetOf(text)) }, atMs: ports.clock.monotonic() };
    } catch (error) {
      log.warn("the keys of an issuer cannot be had", { issuer, reason: messageOf(error) });
    }
  }

  async #text(): Promise<string> {
    const { jwks, readText, issuer } = this.#options;
    if (jwks !== undefined) return isUrl(jwks) ? this.#get(jwks) : readText(jwks);
    const base = issuer.endsWith("/") ? issuer.slice(0, -1) : issuer;
    const found = v.parse(DiscoverySchema, JSON.parse(await this.#get(`${base}/.well-known/openid-configuration`)));
    if (found.issuer !== issuer) throw new Error(`the discovery document is of the issuer ${JSON.stringify(found.issuer.slice(0, 200))}`);
    checkIssuerUrl(found.jwks_uri);
    return this.#get(found.jwks_uri);
  }

  #get(url: string): Promise<string> {
    return this.#options.fetchText(url, { ca: this.#options.ca, ...LIMITS });
  }
}

/** Only keys that verify others' signatures are ever taken from it: jose leaves out symmetric ones and those that are there to encrypt. */
function keySetOf(text: string): JSONWebKeySet {
  const { keys } = v.parse(KeysSchema, JSON.parse(text));
  if (keys.length > MAX_KEYS) throw new Error(`there are more than ${MAX_KEYS} keys`);
  return { keys };
}
