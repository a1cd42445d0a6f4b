import { createHmac } from "node:crypto";
import * as v from "valibot";
import { TransporterError } from "../kit/mod.ts";
import { type BrowserSession, RoleSchema, ScopeSchema } from "../protocol/mod.ts";
import { DOCUMENT_KINDS } from "./documents.ts";
import type { BrowserSessions, Origin } from "./gate.ts";
import type { Parts } from "./parts.ts";
import type { Principal } from "./principal.ts";
import { SharedRecords } from "./shared-record.ts";
import { makeToken, parseToken, sameDigest } from "./token-format.ts";

/** `__Host-`: browsers take it only over TLS, from this very host, for all of its paths. */
const COOKIE = "__Host-transporter-session";
const ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict";
const SESSION_MS = 12 * 3_600_000;
const KEPT_AFTER_MS = 60_000;
/** Stands before the id of a session where a principal says what ends it. */
export const SESSION_CREDENTIAL = "session:";

const SessionSchema = v.object({
  /** Hex, of the whole cookie. */
  sha256: v.string(),
  name: v.string(),
  role: RoleSchema,
  scope: v.optional(ScopeSchema),
  /** What ends it besides itself: the token that it was begun with. */
  parent: v.optional(v.string()),
  expiresAtMs: v.number(),
  endedAtMs: v.optional(v.number()),
});
type SessionRecord = v.InferOutput<typeof SessionSchema>;

export type FoundSession =
  | { readonly principal: Principal; readonly csrf: string; readonly parent: string | undefined }
  | { readonly why: string };

/** The secret of the cookie among the cookies of a request; undefined where there is none, or two, which no browser of ours sends. */
export function sessionCookie(header: string | null): string | undefined {
  if (header === null) return undefined;
  const found = header
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${COOKIE}=`))
    .map((pair) => pair.slice(COOKIE.length + 1));
  return found.length === 1 ? found[0] : undefined;
}

/** Only who has the cookie could make it, and the page that is to send it cannot read the cookie: it was told when the session began. */
function csrfOf(cookie: string): string {
  return createHmac("sha256", cookie).update("transporter csrf 1").digest("base64url");
}

/** Sessions of browsers, each begun with another way to show who one is. */
export class StoredBrowserSessions implements BrowserSessions {
  readonly #parts: Parts;
  readonly #records: SharedRecords<SessionRecord>;
  /** Whether what a session was begun with still counts. */
  readonly #parentIsCurrent: (credential: string) => Promise<boolean>;
  /** Tells this control plane at once what the others hear of. */
  readonly #changed: (id: string) => void;

  constructor(parts: Parts, parentIsCurrent: (credential: string) => Promise<boolean>, changed: (id: string) => void) {
    this.#parts = parts;
    this.#parentIsCurrent = parentIsCurrent;
    this.#changed = changed;
    this.#records = new SharedRecords<SessionRecord>({
      documents: parts.documents,
      tenant: parts.tenant,
      kind: DOCUMENT_KINDS.session,
      schema: SessionSchema,
      expiresAtMs: ({ expiresAtMs }) => expiresAtMs + KEPT_AFTER_MS,
    });
  }

  async begin(principal: Principal, from: Origin): Promise<{ readonly session: BrowserSession; readonly cookie: string }> {
    // A session that begins sessions would never end.
    if (principal.kind !== "user" || principal.via === "cookie") {
      throw new TransporterError("ACCESS_DENIED", "a browser's session begins with a token of a person, not with another session");
    }
    const { tenant, ports } = this.#parts;
    const nowMs = ports.clock.now();
    const expiresAtMs = Math.min(nowMs + SESSION_MS, principal.expiresAtMs ?? Number.POSITIVE_INFINITY);
    const { id, sha256, token } = makeToken("session");
    const record: SessionRecord = {
      sha256,
      name: principal.name,
      role: principal.role,
      scope: principal.scope,
      parent: principal.credential,
      expiresAtMs,
    };
    const audit = {
      tenant,
      atMs: nowMs,
      principal: principal.name,
      action: "session_begun",
      remoteAddress: from.address,
      requestId: from.requestId,
      details: { session_id: id },
    };
    if (!(await this.#records.make(id, record, audit))) {
      throw new TransporterError("STORE_UNAVAILABLE", "the session could not be kept; ask again");
    }
    const maxAgeS = Math.floor((expiresAtMs - nowMs) / 1000);
    return {
      session: { csrf_token: csrfOf(token), expires_at: new Date(expiresAtMs).toISOString() },
      cookie: `${COOKIE}=${token}; ${ATTRIBUTES}; Max-Age=${maxAgeS}`,
    };
  }

  async end(cookie: string | null, from: Origin): Promise<string> {
    const parsed = parseToken(sessionCookie(cookie) ?? "");
    if (parsed?.type === "session") {
      const { tenant, ports } = this.#parts;
      const nowMs = ports.clock.now();
      await this.#records.change(parsed.id, (record) => {
        if (!sameDigest(record.sha256, parsed.sha256) || record.endedAtMs !== undefined) return undefined;
        return {
          record: { ...record, endedAtMs: nowMs },
          audit: {
            tenant,
            atMs: nowMs,
            principal: record.name,
            action: "session_ended",
            remoteAddress: from.address,
            requestId: from.requestId,
            details: { session_id: parsed.id },
          },
        };
      });
      this.#changed(parsed.id);
    }
    return `${COOKIE}=; ${ATTRIBUTES}; Max-Age=0`;
  }

  /** Who is behind the secret of a cookie. */
  async find(secret: string): Promise<FoundSession> {
    const parsed = parseToken(secret);
    if (parsed?.type !== "session") return { why: "malformed" };
    const record = (await this.#records.get(parsed.id))?.record;
    if (record === undefined || !sameDigest(parsed.sha256, record.sha256)) return { why: "unknown" };
    const why = await this.#problem(record);
    if (why !== undefined) return { why };
    const { name, role, scope, expiresAtMs, parent } = record;
    const credential = `${SESSION_CREDENTIAL}${parsed.id}`;
    const common = { tenant: this.#parts.tenant, name, kind: "user", via: "cookie", role, credential, expiresAtMs } as const;
    return { principal: scope === undefined ? common : { ...common, scope }, csrf: csrfOf(secret), parent };
  }

  /** Whether a session that was good still is. */
  async isCurrent(id: string): Promise<boolean> {
    const record = (await this.#records.get(id))?.record;
    return record !== undefined && (await this.#problem(record)) === undefined;
  }

  async #problem({ endedAtMs, expiresAtMs, parent }: SessionRecord): Promise<string | undefined> {
    if (endedAtMs !== undefined) return "ended";
    if (expiresAtMs <= this.#parts.ports.clock.now()) return "expired";
    if (parent !== undefined && !(await this.#parentIsCurrent(parent))) return "begun with what counts no more";
    return undefined;
  }
}
