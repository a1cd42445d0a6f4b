import { formatTimestamp } from "../protocol/mod.ts";
import type { AgentState } from "./agent-options.ts";
import type { LinkState } from "./connection.ts";
import type { HealthReport } from "./health-file.ts";

const LINK_WORDS: Readonly<Record<Exclude<LinkState, "registered">, string>> = {
  idle: "it has no identity yet, and waits to be enrolled",
  connecting: "dialling",
  registering: "waiting for the answer to its registration",
  waiting: "waiting to dial again",
  stopped: "it is stopping",
};

/** What the agent tells probes. Whether its cluster answers is not part of it: a restart of the agent would not cure that. */
export function agentHealth(state: AgentState): HealthReport {
  return {
    ready: state.link === "registered" && !state.ledgerFailing,
    summary: summaryOf(state),
    details: {
      link: state.link,
      cp_url: state.cpUrl,
      registered_since: time(state.registeredSinceMs),
      last_contact: time(state.lastContactMs),
      ledger_writable: !state.ledgerFailing,
      running: state.running,
      waiting: state.waiting,
      unacknowledged: state.unacknowledged,
      certificate_expires_at: time(state.certificateExpiresAtMs),
    },
  };
}

function time(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : formatTimestamp(ms);
}

function summaryOf({ link, cpUrl, registeredSinceMs, ledgerFailing }: AgentState): string {
  if (link !== "registered") return `not connected to ${cpUrl}: ${LINK_WORDS[link]}`;
  if (ledgerFailing) return `connected to ${cpUrl}, but the ledger cannot be written: no events are taken`;
  return `connected to ${cpUrl} since ${formatTimestamp(registeredSinceMs ?? 0)}`;
}
