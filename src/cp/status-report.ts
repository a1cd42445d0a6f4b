import type { Logger } from "../kit/mod.ts";
import { isTerminal, type StatusUpdate } from "../protocol/mod.ts";
import type { StatusOutcome } from "../stores/mod.ts";
import type { AgentSession } from "./session.ts";

/** What a stranger wrote is cut before it goes to the log. */
const SHOWN_CHARS = 300;

/** Says in the log what became of a status where that is worth a line. */
export function reportStatus(log: Logger, session: AgentSession, update: StatusUpdate, outcome: StatusOutcome): void {
  const { verdict } = outcome;
  // Four of the five statuses of each event end here, or a repeated one.
  if (verdict === "stale" || verdict === "fenced" || (verdict === "apply" && !isTerminal(update.state))) return;
  const fields = {
    agent_id: session.agentId,
    cluster: session.clusterName,
    event_id: update.event_id.slice(0, SHOWN_CHARS),
    state: update.state,
    phase: update.phase,
  };
  switch (verdict) {
    case "apply":
      if (update.state === "completed") log.info("Event completed successfully", fields);
      else if (update.state === "failed") log.warn("Event failed", { ...fields, error: (update.message ?? "").slice(0, SHOWN_CHARS) });
      else log.info("Event ended", fields);
      return;
    case "late":
      log.warn("Status came after the event had ended", { ...fields, ended: outcome.state });
      return;
    case "forbidden":
      log.warn("Status not allowed", { ...fields, stands: outcome.state });
      return;
    case "unknown":
      log.warn("Status for an event that this agent does not have", fields);
      return;
  }
}
