import type {
  AgentClaim,
  CancelInput,
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
  StatusWrite,
  Word,
} from "../../src/stores/mod.ts";
import { wordsOf } from "../../src/stores/words.ts";

/** What others are told of a call that came to this. */
export function wordsAfter(method: string, args: readonly unknown[], value: unknown): readonly Word[] {
  switch (method) {
    case "createEvent":
      return wordsOf.createEvent(args[0] as NewEvent, value as CreateOutcome);
    case "retryEvent":
      return wordsOf.retryEvent(value as RetryOutcome);
    case "moveDelivery": {
      const move = args[0] as DeliveryMove;
      const outcome = value as MoveOutcome;
      const words = wordsOf.moveDelivery(move, outcome);
      const agentId = outcome.kind === "moved" ? outcome.entry?.agent_id : undefined;
      return move.to === "queued" && agentId !== undefined ? [...words, ...wordsOf.putBack(agentId)] : words;
    }
    case "applyStatus":
      return wordsOf.applyStatus((args[0] as StatusWrite).eventId, value as StatusOutcome);
    case "cancelEvent":
      return wordsOf.cancelEvent((args[0] as CancelInput).eventId, value as CancelOutcome);
    case "expireDue":
      return wordsOf.ended(value as readonly Ended[]);
    case "claimAgent": {
      const { agent, replicaId } = args[0] as AgentClaim;
      return wordsOf.claimAgent(agent.id, replicaId, value as Claimed);
    }
    case "setPaused":
      return value === undefined ? [] : wordsOf.agent(args[1] as string, args[2] === true ? "paused" : "resumed");
    case "removeAgent":
      return value === undefined ? [] : [...wordsOf.ended(value as readonly Ended[]), ...wordsOf.agent(args[1] as string, "removed")];
    case "writeDocument":
      return wordsOf.writeDocument(args[0] as DocumentWrite, value as DocumentOutcome);
    default:
      return [];
  }
}
