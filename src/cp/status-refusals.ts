import { type Logger, messageOf } from "../kit/mod.ts";
import type { StatusUpdate } from "../protocol/mod.ts";
import type { Security } from "../security/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { AgentSession } from "./session.ts";

/** Looked up at the same time, of all agents; what comes beyond is logged all the same, and only not looked up. */
const LOOKS_AT_ONCE = 16;
/** What a stranger wrote is cut. */
const SHOWN_CHARS = 300;

export interface StatusRefusalsOptions {
  readonly store: Pick<Store, "getEvent">;
  readonly tenant: string;
  readonly refusals: Security["refusals"];
  readonly log: Logger;
}

/** Writes down where an agent speaks for another. */
export class StatusRefusals {
  readonly #options: StatusRefusalsOptions;
  #looking = 0;

  constructor(options: StatusRefusalsOptions) {
    this.#options = options;
  }

  /** It names another agent as its own. */
  foreign(session: AgentSession, update: StatusUpdate): void {
    const name = (update.agent_id ?? "").slice(0, SHOWN_CHARS);
    void this.#note(session, update, { reason: "the status names another agent", named: name });
  }

  /** The store has no such delivery of this agent: the event may be another's, or be gone, which is nobody's fault. Throws nothing. */
  async unknown(session: AgentSession, update: StatusUpdate): Promise<void> {
    if (this.#looking >= LOOKS_AT_ONCE) return;
    this.#looking += 1;
    const { store, tenant, log } = this.#options;
    try {
      const event = await store.getEvent(tenant, update.event_id, { payload: false, log: false });
      if (event !== undefined && event.event.targetAgent !== session.agentId)
        await this.#note(session, update, { reason: "the event is another agent's" });
    } catch (error) {
      log.warn("An event could not be looked at", { event_id: update.event_id.slice(0, SHOWN_CHARS), error: messageOf(error) });
    } finally {
      this.#looking -= 1;
    }
  }

  #note(session: AgentSession, update: StatusUpdate, details: Record<string, string>): Promise<void> {
    return this.#options.refusals.note({
      action: "status_refused",
      code: "ACCESS_DENIED",
      ...session.entrant.origin,
      principal: session.entrant.principal.name,
      agentId: session.agentId,
      eventId: update.event_id.slice(0, SHOWN_CHARS),
      details: { ...details, state: update.state },
    });
  }
}
