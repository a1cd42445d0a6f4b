/**
 * THE WIRE: what control plane, agent, producer and browser say to each other, as valibot schemas, pure checks and tables.
 * It imports nothing of ours and touches no platform API, so that every side, a browser included, can use it. It refuses by answer
 * (`Checked`), never by throwing. It promises 0.1's contract to the letter: what 0.1 sent is accepted, and what it must read is sent.
 */
export * from "./agent.ts";
export * from "./api.ts";
export { type Checked, issueRefusal, type Refusal, refuse } from "./checked.ts";
export * from "./cloud-event.ts";
export * from "./codes.ts";
export * from "./duration.ts";
export type { ErrorKind } from "./error-kind.ts";
export * from "./event.ts";
export * from "./frames.ts";
export * from "./identity.ts";
export * from "./json-bounds.ts";
export * from "./limits.ts";
export * from "./operation.ts";
export * from "./security.ts";
export * from "./states.ts";
export * from "./timestamp.ts";
