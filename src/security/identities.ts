import type { ChallengeFrame } from "../protocol/mod.ts";
import type { IdentityService } from "./gate.ts";
import type { Parts } from "./parts.ts";
import type { Trust } from "./trust.ts";

/** Who agents are. */
export interface Identities extends IdentityService {
  /** The document of this agent's identity was written by somebody. Answers whether the agent as a whole is revoked. */
  changed(agentId: string): Promise<boolean>;
}

export interface IdentitiesOptions {
  readonly parts: Parts;
  readonly trust: Trust;
}

export function createIdentities(_options: IdentitiesOptions): Identities {
  const notYet = (): never => {
    throw new Error("not there yet");
  };
  return {
    challenge: (): ChallengeFrame => notYet(),
    verify: async () => notYet(),
    still: async () => notYet(),
    get: async () => notYet(),
    list: async () => notYet(),
    revoke: async () => notYet(),
    changed: async () => notYet(),
  };
}
