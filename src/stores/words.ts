import { isTerminal } from "../protocol/mod.ts";
import type {
  CancelOutcome,
  Claimed,
  CreateOutcome,
  DeliveryMove,
  DocumentOutcome,
  DocumentWrite,
  Ended,
  MoveOutcome,
  NewEvent,
  RetryOutcome,
  StatusOutcome,
  Word,
} from "./port.ts";

/**
 * Which words follow from which operation, for drivers of shared stores: they tell them to the other control planes when the operation is
 * durable. What changed nothing says nothing.
 */
export const wordsOf = {
  createEvent(input: NewEvent, outcome: CreateOutcome): readonly Word[] {
    if (outcome.kind !== "created") return [];
    const { eventId, agentId, state, priority } = outcome.delivery;
    const entry: Word = { kind: "entry", eventId };
    // What must not start yet waits for its time; whoever owns the agent has to know of it all the same, to wake then.
    return state === "queued"
      ? [{ kind: "queued", agentId, priority: input.notBeforeMs === undefined ? priority : undefined }, entry]
      : [entry];
  },
  retryEvent(outcome: RetryOutcome): readonly Word[] {
    if (outcome.kind !== "created") return [];
    const { eventId, agentId } = outcome.delivery;
    return [
      { kind: "queued", agentId, priority: undefined },
      { kind: "entry", eventId },
    ];
  },
  moveDelivery(move: DeliveryMove, outcome: MoveOutcome): readonly Word[] {
    return outcome.kind === "moved" && outcome.entry !== undefined ? [{ kind: "entry", eventId: move.eventId }] : [];
  },
  /** What waits again may be for another control plane by now. */
  putBack(agentId: string): readonly Word[] {
    return [{ kind: "queued", agentId, priority: undefined }];
  },
  applyStatus(eventId: string, outcome: StatusOutcome): readonly Word[] {
    return outcome.entry === undefined ? [] : [{ kind: "entry", eventId }];
  },
  cancelEvent(eventId: string, outcome: CancelOutcome): readonly Word[] {
    switch (outcome.kind) {
      case "cancelled": {
        const { agentId, entry } = outcome;
        return [
          { kind: "ended", eventId, agentId, revision: entry.revision },
          { kind: "entry", eventId },
        ];
      }
      case "requested": {
        const { agentId, revision, entry } = outcome;
        const recall: Word = { kind: "recall", eventId, agentId, revision };
        return entry === undefined ? [recall] : [recall, { kind: "entry", eventId }];
      }
      case "already":
      case "refused":
      case "missing":
        return [];
    }
  },
  ended(ended: readonly Ended[]): readonly Word[] {
    return ended.flatMap(({ eventId, agentId, revision, state }): readonly Word[] =>
      isTerminal(state)
        ? [
            { kind: "ended", eventId, agentId, revision },
            { kind: "entry", eventId },
          ]
        : [],
    );
  },
  claimAgent(agentId: string, replicaId: string, { epoch }: Claimed): readonly Word[] {
    return [{ kind: "claimed", agentId, epoch, replicaId }];
  },
  agent(agentId: string, change: "paused" | "resumed" | "removed"): readonly Word[] {
    return [{ kind: "agent", agentId, change }];
  },
  writeDocument({ tenant, kind, id }: DocumentWrite, outcome: DocumentOutcome): readonly Word[] {
    return outcome.kind === "written" ? [{ kind: "document", document: { tenant, kind, id } }] : [];
  },
} as const;
