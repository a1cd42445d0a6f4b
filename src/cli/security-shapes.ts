import { type EnrolmentView, type IdentityView, type Scope, type TokenView, parseTimestampMs } from "../protocol/mod.ts";
import { age } from "./age.ts";
import type { Shape } from "./output.ts";

const pairsText = (labels: Readonly<Record<string, string>> | undefined): string =>
  Object.entries(labels ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .join(",");

/** What a scope leaves; "everything" where there is none. */
export function scopeText(scope: Scope | undefined): string {
  const parts = [
    ...(scope?.agents === undefined ? [] : [`agents ${scope.agents.join(",")}`]),
    ...(scope?.selector === undefined ? [] : [`labels ${scope.selector}`]),
    ...(scope?.event_types === undefined ? [] : [`types ${scope.event_types.join(",")}`]),
  ];
  return parts.length === 0 ? "everything" : parts.join("; ");
}

/** How long from now until then, as an age is written; "ended" for what is past. */
export function remaining(timestamp: string, nowMs: number): string {
  const untilMs = parseTimestampMs(timestamp) ?? nowMs;
  return untilMs <= nowMs ? "ended" : age(new Date(nowMs).toISOString(), untilMs);
}

function tokenState(token: TokenView, nowMs: number): string {
  if (token.revoked_at !== undefined) return "revoked";
  if (token.used_at !== undefined) return "used";
  return remaining(token.expires_at, nowMs) === "ended" ? "ended" : "good";
}

export function tokenShape(nowMs: number): Shape<TokenView> {
  return {
    name: (token) => `token/${token.id}`,
    columns: [
      { head: "ID", cell: (token) => token.id },
      { head: "KIND", cell: (token) => token.kind },
      { head: "NAME", cell: (token) => token.name },
      { head: "ROLE", cell: (token) => token.role ?? "" },
      { head: "FOR", cell: (token) => (token.kind === "enrolment" ? `agent ${token.agent ?? ""}` : scopeText(token.scope)) },
      { head: "STATE", cell: (token) => tokenState(token, nowMs) },
      { head: "ENDS IN", cell: (token) => remaining(token.expires_at, nowMs) },
      { head: "LAST USED", cell: (token) => (token.last_used_at === undefined ? "" : age(token.last_used_at, nowMs)) },
      { head: "USED BY", cell: (token) => token.used_by ?? "", wide: true },
      { head: "LABELS", cell: (token) => pairsText(token.labels), wide: true },
      { head: "CREATED BY", cell: (token) => token.created_by, wide: true },
      { head: "AGE", cell: (token) => age(token.created_at, nowMs) },
    ],
  };
}

export function enrolmentShape(nowMs: number): Shape<EnrolmentView> {
  return {
    name: (enrolment) => `enrolment/${enrolment.id}`,
    columns: [
      { head: "ID", cell: (enrolment) => enrolment.id },
      { head: "AGENT", cell: (enrolment) => enrolment.agent_id },
      { head: "STATUS", cell: (enrolment) => enrolment.status },
      // The whole of it with -o wide; this much is enough to compare by eye with the agent's log.
      { head: "KEY", cell: (enrolment) => enrolment.key_sha256.slice(0, 16) },
      { head: "KEY SHA-256", cell: (enrolment) => enrolment.key_sha256, wide: true },
      { head: "VOUCHED BY", cell: (enrolment) => enrolment.vouched_by },
      { head: "FROM", cell: (enrolment) => enrolment.remote_address },
      { head: "DECIDED BY", cell: (enrolment) => enrolment.decided_by ?? "", wide: true },
      { head: "AGE", cell: (enrolment) => age(enrolment.requested_at, nowMs) },
    ],
  };
}

function identityState(identity: IdentityView, nowMs: number): string {
  if (identity.revoked_at !== undefined) return "revoked";
  const [newest] = identity.certificates;
  return newest === undefined ? "without certificate" : remaining(newest.expires_at, nowMs) === "ended" ? "ended" : "good";
}

export function identityShape(nowMs: number): Shape<IdentityView> {
  return {
    name: (identity) => `identity/${identity.agent_id}`,
    columns: [
      { head: "AGENT", cell: (identity) => identity.agent_id },
      { head: "STATE", cell: (identity) => identityState(identity, nowMs) },
      {
        head: "CERTIFICATE ENDS IN",
        cell: ({ certificates: [newest] }) => (newest === undefined ? "" : remaining(newest.expires_at, nowMs)),
      },
      { head: "SERIAL", cell: ({ certificates: [newest] }) => newest?.serial ?? "", wide: true },
      { head: "KEY SHA-256", cell: ({ certificates: [newest] }) => newest?.key_sha256 ?? "", wide: true },
      { head: "LABELS", cell: (identity) => pairsText(identity.labels) },
      { head: "ENROLLED BY", cell: (identity) => identity.enrolled_by },
      { head: "AGE", cell: (identity) => age(identity.enrolled_at, nowMs) },
    ],
  };
}
