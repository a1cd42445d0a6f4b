import { TransporterError } from "../kit/mod.ts";
import type { CreatedToken, TokenKind, TokenRequest, TokenView } from "../protocol/mod.ts";
import { demand } from "./authorize.ts";
import { type AuditLine, DOCUMENT_KINDS } from "./documents.ts";
import type { Origin, TokenService } from "./gate.ts";
import type { LastUse } from "./last-use.ts";
import type { EnrolmentToken, EnrolmentTokens, Parts } from "./parts.ts";
import type { Principal } from "./principal.ts";
import type { EnrolmentTokenHash, TokenHash } from "./pki/token-hashes.ts";
import { checkPattern, checkScope, isScoped, patternWithin } from "./scope.ts";
import { checkLabels, parseSelector, selects } from "./selector.ts";
import { type Held, SharedRecords } from "./shared-record.ts";
import { makeToken, parseToken, sameDigest } from "./token-format.ts";
import { sweptAtMs, type TokenRecord, TokenRecordSchema, viewOf } from "./token-records.ts";

const SECOND_MS = 1000;
const DAY_MS = 24 * 3_600_000;
const TTL_MS: Readonly<Record<TokenKind, { readonly usual: number; readonly max: number }>> = {
  user: { usual: 90 * DAY_MS, max: 3650 * DAY_MS },
  enrolment: { usual: 15 * 60 * SECOND_MS, max: 30 * DAY_MS },
};
/** A token that was used stays an answer for its own key that long, as somebody may have to approve it first. */
const USED_COUNTS_MS = DAY_MS;
const NAME = /^[A-Za-z0-9][A-Za-z0-9 ._:@/-]{0,99}$/;
const NS_PER_MS = 1_000_000;
const BOOTSTRAP_NAME = "bootstrap-admin";

function invalid(message: string, pointer: string): TransporterError {
  return new TransporterError("INVALID_REQUEST", message, { details: { pointer } });
}

export class Tokens implements TokenService, EnrolmentTokens {
  readonly #parts: Parts;
  readonly #records: SharedRecords<TokenRecord>;
  readonly #lastUse: LastUse;
  /** Tells this control plane at once what the others hear of. */
  readonly #changed: (id: string) => void;

  constructor(parts: Parts, lastUse: LastUse, changed: (id: string) => void) {
    this.#parts = parts;
    this.#lastUse = lastUse;
    this.#changed = changed;
    this.#records = new SharedRecords<TokenRecord>({
      documents: parts.documents,
      tenant: parts.tenant,
      kind: DOCUMENT_KINDS.token,
      schema: TokenRecordSchema,
      expiresAtMs: sweptAtMs,
    });
  }

  async create(request: TokenRequest, by: Principal, from: Origin): Promise<CreatedToken> {
    this.#demand(by, request);
    const { kind, role, scope, agent, labels } = request;
    if (kind === "user") checkUserRequest(request);
    else checkEnrolmentRequest(request);
    const { id, sha256, token } = makeToken(kind);
    const nowMs = this.#parts.ports.clock.now();
    const name = request.name ?? `${kind}-${id}`;
    if (!NAME.test(name)) throw invalid("the name has characters that names do not have", "/name");
    const record: TokenRecord = {
      kind,
      name,
      sha256,
      role,
      scope: isScoped(scope) ? scope : undefined,
      agent,
      labels,
      createdAtMs: nowMs,
      createdBy: by.name,
      expiresAtMs: nowMs + ttlMs(request),
    };
    if (!(await this.#records.make(id, record, this.#audit("token_created", id, record, by, from)))) {
      throw new TransporterError("STORE_UNAVAILABLE", "the token could not be kept; ask again");
    }
    return { token, ...viewOf(id, record, undefined) };
  }

  async list(query: { readonly kind?: TokenKind; readonly after?: string; readonly limit: number }): Promise<readonly TokenView[]> {
    const { kind, limit, ...start } = query;
    const found: Held<TokenRecord>[] = [];
    let from: { readonly after?: string } = start;
    for (;;) {
      const page = await this.#records.list({ ...from, limit });
      found.push(...page.filter(({ record }) => kind === undefined || record.kind === kind));
      if (page.length < limit || found.length >= limit) break;
      from = { after: page.at(-1)?.id ?? "" };
    }
    const items = found.slice(0, limit);
    const uses = await this.#lastUse.of(items.map(({ id }) => id));
    return items.map(({ id, record }) => viewOf(id, record, uses.get(id)));
  }

  async get(id: string): Promise<TokenView | undefined> {
    const held = await this.#records.get(id);
    return held === undefined ? undefined : viewOf(id, held.record, (await this.#lastUse.of([id])).get(id));
  }

  async revoke(id: string, by: Principal, from: Origin): Promise<TokenView> {
    const held = await this.#records.change(id, (record) => {
      this.#demand(by, record);
      if (record.revokedAtMs !== undefined) return undefined;
      return {
        record: { ...record, revokedAtMs: this.#parts.ports.clock.now() },
        audit: this.#audit("token_revoked", id, record, by, from),
      };
    });
    if (held === undefined) throw new TransporterError("TOKEN_NOT_FOUND", `there is no token ${id.slice(0, 40)}`);
    this.#changed(id);
    return viewOf(id, held.record, (await this.#lastUse.of([id])).get(id));
  }

  /** The user token that `bearer` is, if it counts. */
  async user(
    bearer: string,
  ): Promise<{ readonly id: string; readonly record: TokenRecord } | { readonly why: string; readonly id: string | undefined }> {
    return this.#known(bearer, "user", (record, nowMs) => (record.expiresAtMs <= nowMs ? "expired" : undefined));
  }

  /** Whether a user token that was good still is; `undefined` where it is not. */
  async current(id: string): Promise<TokenRecord | undefined> {
    const record = (await this.#records.get(id))?.record;
    if (record?.kind !== "user" || record.revokedAtMs !== undefined || record.expiresAtMs <= this.#parts.ports.clock.now())
      return undefined;
    return record;
  }

  async find(bearer: string): Promise<{ readonly token: EnrolmentToken } | { readonly why: string; readonly id: string | undefined }> {
    const found = await this.#known(bearer, "enrolment", (record, nowMs) => {
      const untilMs = record.used === undefined ? record.expiresAtMs : record.used.atMs + USED_COUNTS_MS;
      return untilMs <= nowMs ? "expired" : undefined;
    });
    if ("why" in found) return found;
    const { id, record } = found;
    const { name, agent = "", labels = {}, createdBy, createdAtMs, used } = record;
    return { token: { id, name, agent, labels, createdBy, createdAtMs, usedBy: used } };
  }

  async bind(id: string, to: { readonly agentId: string; readonly keySha256: string }): Promise<boolean> {
    const held = await this.#records.change(id, (record) => {
      if (record.used !== undefined || record.revokedAtMs !== undefined) return undefined;
      return { record: { ...record, used: { ...to, atMs: this.#parts.ports.clock.now() } } };
    });
    const record = held?.record;
    return record?.revokedAtMs === undefined && record?.used?.agentId === to.agentId && record.used.keySha256 === to.keySha256;
  }

  /**
   * Takes in tokens that were made before there was a store, of which files have the hashes: an administrator's, and some that let agents in.
   * One that was here before stays as it is, used, revoked or not.
   */
  async bootstrap(of: { readonly admins: readonly TokenHash[]; readonly enrolments: readonly EnrolmentTokenHash[] }): Promise<void> {
    const createdAtMs = this.#parts.ports.clock.now();
    const common = { createdAtMs, createdBy: "system" };
    for (const { id, sha256 } of of.admins) {
      const expiresAtMs = createdAtMs + TTL_MS.user.max;
      await this.#takeIn(id, { ...common, kind: "user", name: BOOTSTRAP_NAME, sha256, role: "admin", expiresAtMs, fromFile: true });
    }
    for (const { id, sha256, agent, expiresAtMs } of of.enrolments) {
      if (expiresAtMs <= createdAtMs) continue;
      await this.#takeIn(id, { ...common, kind: "enrolment", name: BOOTSTRAP_NAME, sha256, agent, expiresAtMs });
    }
  }

  async #takeIn(id: string, record: TokenRecord): Promise<void> {
    const audit = this.#audit("token_created", id, record, undefined, undefined);
    if (await this.#records.make(id, record, audit))
      this.#parts.log.info("a token of a file is known from now on", { token_id: id, kind: record.kind });
  }

  /** User tokens are for whoever may do everything, so that none can give more than its maker has; enrolment tokens for what the maker's scope has. */
  #demand(
    by: Principal,
    of: { readonly kind: TokenKind; readonly agent?: string | undefined; readonly labels?: Readonly<Record<string, string>> | undefined },
  ): void {
    if (of.kind === "user") {
      demand(by, "tokens:manage");
      return;
    }
    demand(by, "enrolments:manage");
    const { scope } = by;
    if (!isScoped(scope)) return;
    const agent = of.agent ?? "";
    const patternFits = scope.agents === undefined || scope.agents.some((pattern) => patternWithin(agent, pattern));
    const labelsFit = scope.selector === undefined || selects(parseSelector(scope.selector), of.labels ?? {});
    // An agent is sent events of all types: whoever may have some only must not become one.
    if (!patternFits || !labelsFit || scope.event_types !== undefined) {
      throw new TransporterError("ACCESS_DENIED", `${by.name} may not: such a token lets in more than the scope has`, {
        details: { action: "enrolments:manage" },
      });
    }
  }

  async #known(
    bearer: string,
    kind: TokenKind,
    ended: (record: TokenRecord, nowMs: number) => string | undefined,
  ): Promise<{ readonly id: string; readonly record: TokenRecord } | { readonly why: string; readonly id: string | undefined }> {
    const parsed = parseToken(bearer);
    if (parsed === undefined) return { why: "malformed", id: undefined };
    if (parsed.type !== kind) return { why: "wrong kind", id: parsed.id };
    const record = (await this.#records.get(parsed.id))?.record;
    if (record === undefined || !sameDigest(parsed.sha256, record.sha256)) return { why: "unknown", id: parsed.id };
    if (record.kind !== kind) return { why: "wrong kind", id: parsed.id };
    if (record.revokedAtMs !== undefined) return { why: "revoked", id: parsed.id };
    const why = ended(record, this.#parts.ports.clock.now());
    return why === undefined ? { id: parsed.id, record } : { why, id: parsed.id };
  }

  #audit(action: string, id: string, record: TokenRecord, by: Principal | undefined, from: Origin | undefined): AuditLine {
    const { kind, name, role, scope, agent, labels } = record;
    return {
      tenant: this.#parts.tenant,
      atMs: this.#parts.ports.clock.now(),
      principal: by?.name ?? "system",
      action,
      ...(agent === undefined || agent.includes("*") ? {} : { agentId: agent }),
      ...(from === undefined ? {} : { remoteAddress: from.address, requestId: from.requestId }),
      details: { token_id: id, kind, name, role, scope, agent, labels, expires_at: new Date(record.expiresAtMs).toISOString() },
    };
  }
}

function checkUserRequest({ role, scope, agent, labels }: TokenRequest): void {
  if (agent !== undefined || labels !== undefined) throw invalid("agent and labels are of enrolment tokens", "/agent");
  if (role === undefined) throw invalid("a user token needs a role", "/role");
  if (scope !== undefined) checkScope(scope);
  if (role === "agent" && scope?.agents === undefined) throw invalid("a token with the role agent says by scope.agents of which", "/scope");
}

function checkEnrolmentRequest({ role, scope, agent, labels }: TokenRequest): void {
  if (role !== undefined || scope !== undefined) throw invalid("role and scope are of user tokens", "/role");
  if (agent === undefined) throw invalid("an enrolment token says for which agent it is: an id, or a pattern with *", "/agent");
  checkPattern(agent);
  if (labels !== undefined) checkLabels(labels);
}

function ttlMs({ kind, ttl }: TokenRequest): number {
  const { usual, max } = TTL_MS[kind];
  if (ttl === undefined) return usual;
  const ms = Math.floor(ttl / NS_PER_MS);
  if (!Number.isFinite(ttl) || ms < SECOND_MS || ms > max) {
    throw invalid(`the ttl is from a second to ${max / DAY_MS} days, in nanoseconds`, "/ttl");
  }
  return ms;
}
