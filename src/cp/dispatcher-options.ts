import type { Logger, Ports } from "../kit/mod.ts";
import type { Store } from "../stores/mod.ts";
import type { Bell } from "./bell.ts";
import type { Footprints } from "./footprints.ts";
import type { Payloads } from "./payloads.ts";
import type { FootprintBudget } from "./precedence.ts";
import type { AgentSession } from "./session.ts";

/** What the dispatcher and its parts work on. */
export interface DispatcherOptions {
  readonly tenant: string;
  readonly store: Store;
  readonly bell: Bell;
  readonly payloads: Pick<Payloads, "text">;
  readonly footprints: Pick<Footprints, "of">;
  /** Bounds what is remembered of waiting deliveries, over all agents. */
  readonly budget: FootprintBudget;
  readonly ports: Ports;
  readonly log: Logger;
  /** Deliveries in flight for each acknowledging agent; a 0.1 agent gets one at a time. */
  readonly maxInFlight: number;
  /** How often an unacknowledged delivery is sent again before the connection is given up. */
  readonly maxResends: number;
  /** Called when a delivery past its TTL was met; false when what is due could not be ended. */
  readonly onOverdue: () => Promise<boolean>;
  /** Another connection owns the agent of this session by now. */
  readonly onFenced: (session: AgentSession) => void;
}
