import type { State } from "../../src/protocol/mod.ts";

/** How an event goes at its cluster; drawn when it is made, so that every attempt meets the same. */
export interface Fate {
  readonly validateMs: number;
  readonly applyMs: number;
  readonly verifyMs: number;
  /** `invalid` and `forbidden` never heal; `flaky` fails so often and then works. */
  readonly trouble: "none" | "invalid" | "forbidden" | "flaky" | "never-ready";
  /** How many attempts fail before one works. */
  readonly failures: number;
}

export interface Plan {
  readonly id: string;
  readonly agentId: string;
  readonly type: "k8s_resource" | "script";
  readonly objects: readonly string[];
  /** It says more than every agent knows. */
  readonly operation: boolean;
  readonly fate: Fate;
  readonly delayed: boolean;
  readonly ttlMs: number;
}

/** One write that an API server took, or one run of a script. */
export interface Effect {
  readonly atMs: number;
  readonly agentId: string;
  readonly object: string;
  readonly eventId: string;
  readonly revision: number;
  /** The object was another before. */
  readonly changed: boolean;
}

/** Event and revision in one. */
export function keyOf(eventId: string, revision: number): string {
  return `${eventId}#${revision}`;
}

/** What was seen from outside while it happened; the invariants judge it. */
export class History {
  readonly plans = new Map<string, Plan>();
  /** What a client was told is accepted, and when. */
  readonly accepted = new Map<string, number>();
  readonly effects: Effect[] = [];
  /** How often the script of a delivery was run. */
  readonly scriptRuns = new Map<string, number>();
  /** When the agent had the end of a delivery on disk. */
  readonly finishedAtAgent = new Map<string, { readonly atMs: number; readonly state: string; readonly code: string }>();
  /** How many further revisions of an event a client was told are accepted. */
  readonly retriesAccepted = new Map<string, number>();
  /** When a wish to cancel was accepted. */
  readonly cancelWished = new Map<string, number>();
  /** States seen to be final in the store, by key. */
  readonly finals = new Map<string, State>();
  /** Statuses that an agent's ledger had taken, as `boot/seq`, and whether they were given up on purpose since. */
  readonly keptStatuses = new Map<string, { readonly key: string; readonly state: string; readonly timestamp: string }>();
  /** Verdicts that statuses met. */
  readonly verdicts = new Set<string>();
  readonly violations: string[] = [];
  /** What a store that was put back to an earlier state knew differently before: of these less is promised. */
  readonly disturbed = new Set<string>();
  /** What such a store did not know at all any more, and when it forgot last. */
  readonly lost = new Map<string, number>();
  /** The highest epoch that each agent said is on its disk. */
  readonly epochs = new Map<string, number>();
  counts = {
    storeAway: 0,
    storeBreaks: 0,
    storeUnknown: 0,
    deaf: 0,
    failOvers: 0,
    freezes: 0,
    fenced: 0,
    submitted: 0,
    retried: 0,
    crashes: 0,
    stops: 0,
    unanswered: 0,
    refused: 0,
    diskFull: 0,
    clockJumps: 0,
  };

  lose(key: string, atMs: number): void {
    this.disturbed.add(key);
    this.lost.set(key, atMs);
    this.finals.delete(key);
  }

  /** Whether a store has lost this event, or some revision of it. */
  hasLost(id: string): boolean {
    return [...this.lost.keys()].some((key) => key.startsWith(`${id}#`));
  }

  /** Whether a store knew something of this event that it lost. */
  hasDisturbed(id: string): boolean {
    return [...this.disturbed].some((key) => key.startsWith(`${id}#`));
  }

  violate(text: string): void {
    if (this.violations.length < 20) this.violations.push(text);
  }
}
