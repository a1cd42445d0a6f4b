/**
 * The agent: sits in a cluster that nobody can reach, dials out to its control plane, carries out what it is sent and tells how it goes.
 *
 * It refuses to start work that it has not recorded, to interleave two events that touch the same object, and, read-only, to change
 * anything. It promises that an accepted event ends exactly once in a status that the control plane has acknowledged, over broken links
 * and restarts (with a state directory; without, over broken links), and that no body, however large, costs it a heartbeat. Where it has an
 * identity, it says nothing to who does not ask for it over TLS that leads to what it trusts, and its key goes nowhere. Against a 0.1 control
 * plane, without an identity, it behaves as a 0.1 agent.
 */
export { startAgent } from "./agent.ts";
export type { Agent, AgentOptions, AgentState, ClusterSource } from "./agent-options.ts";
export type { AgentIdentityOptions } from "./identity-setup.ts";
export type { ResourceSteps, StepContext } from "./executor.ts";
