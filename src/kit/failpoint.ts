/**
 * Every place where a crash matters: right before and right after what must be durable, and around what is told because of it. Proofs kill
 * the process there, and the simulation stops a core there; in production nothing listens and a point costs one comparison.
 */
export const FAILPOINTS = [
  // Control plane.
  "cp.intake.checked",
  "cp.intake.payload-piece",
  "cp.intake.committed",
  "cp.intake.before-deliver",
  "cp.store.before-commit",
  "cp.store.after-commit",
  "cp.dispatch.loaded",
  "cp.dispatch.assigned",
  "cp.dispatch.sent",
  "cp.session.status-received",
  "cp.session.status-stored",
  "cp.session.before-ack",
  "cp.cancel.requested",
  "cp.cancel.sent",
  "cp.retry.committed",
  "cp.expiry.ended",
  "cp.register.saved",
  "cp.payload.piece-sent",
  // Agent.
  "agent.inbound.received",
  "agent.inbound.recorded",
  "agent.inbound.acknowledged",
  "agent.payload.piece-stored",
  "agent.run.before-started",
  "agent.run.started",
  "agent.run.validated",
  "agent.run.object-applied",
  "agent.run.applied",
  "agent.run.retry",
  "agent.run.cancelled",
  "agent.finish.before-ledger",
  "agent.finish.after-ledger",
  "agent.outbound.sent",
  "agent.outbound.acknowledged",
  // An agent that puts back what a failed event has changed.
  "rollback.kept",
  "rollback.begun",
  "rollback.object",
  // An agent that makes an object anew: the old one is gone, the new one is not there.
  "recreate.gone",
  // Producer.
  "producer.built",
  "producer.sent",
  "producer.accepted",
] as const;
export type Failpoint = (typeof FAILPOINTS)[number];

let listener: ((name: Failpoint) => void) | undefined;

/** Says that execution has come to a point. */
export function failpoint(name: Failpoint): void {
  if (listener !== undefined) listener(name);
}

/** For composition roots and proofs alone: who is told of every point that is reached; undefined for nobody. */
export function listenToFailpoints(to: ((name: Failpoint) => void) | undefined): void {
  listener = to;
}
