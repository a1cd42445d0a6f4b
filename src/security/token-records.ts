import * as v from "valibot";
import { RoleSchema, ScopeSchema, TokenKindSchema, type TokenView } from "../protocol/mod.ts";

/** A token as it is kept: all but itself. */
export const TokenRecordSchema = v.object({
  kind: TokenKindSchema,
  name: v.string(),
  /** Hex, of the whole token. */
  sha256: v.pipe(v.string(), v.length(64), v.hexadecimal()),
  role: v.optional(RoleSchema),
  scope: v.optional(ScopeSchema),
  agent: v.optional(v.string()),
  labels: v.optional(v.record(v.string(), v.string())),
  createdAtMs: v.number(),
  createdBy: v.string(),
  expiresAtMs: v.number(),
  revokedAtMs: v.optional(v.number()),
  used: v.optional(v.object({ agentId: v.string(), keySha256: v.string(), atMs: v.number() })),
  /** It came from a file: it is never swept away, or a restart would bring back what was revoked. */
  fromFile: v.optional(v.boolean()),
});
export type TokenRecord = v.InferOutput<typeof TokenRecordSchema>;

/** So long an ended token is still shown to whoever asks what it was. */
const KEPT_AFTER_MS = 30 * 24 * 3_600_000;

export function sweptAtMs(record: TokenRecord): number | undefined {
  return record.fromFile === true ? undefined : record.expiresAtMs + KEPT_AFTER_MS;
}

const time = (ms: number): string => new Date(ms).toISOString();

export function viewOf(id: string, record: TokenRecord, lastUsedAtMs: number | undefined): TokenView {
  const { kind, name, role, scope, agent, labels, revokedAtMs, used } = record;
  return {
    id,
    kind,
    name,
    ...(role === undefined ? {} : { role }),
    ...(scope === undefined ? {} : { scope }),
    ...(agent === undefined ? {} : { agent }),
    ...(labels === undefined ? {} : { labels }),
    created_at: time(record.createdAtMs),
    created_by: record.createdBy,
    expires_at: time(record.expiresAtMs),
    ...(lastUsedAtMs === undefined ? {} : { last_used_at: time(lastUsedAtMs) }),
    ...(revokedAtMs === undefined ? {} : { revoked_at: time(revokedAtMs) }),
    ...(used === undefined ? {} : { used_at: time(used.atMs), used_by: used.agentId }),
  };
}
