/**
 * The control plane: takes events in, stores them before it says so, hands them to the agents that connect to it, and keeps what
 * becomes of them. It refuses what it cannot keep (413, 429, 503) rather than losing it, and web pages while nobody must prove who they
 * are. It promises that a 202 is durable, that each event ends once, and that 0.1 agents and producers work unchanged.
 */
export * from "./control-plane.ts";
export { type Core, type CoreOptions, createCore } from "./core.ts";
export type { AgentSocket } from "./gateway.ts";
export type { IntakeSource } from "./intake.ts";
