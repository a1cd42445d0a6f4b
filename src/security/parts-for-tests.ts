import { type ManualPorts, manualPorts, silentLogger, toTransporterError } from "../kit/mod.ts";
import { memoryDocuments, type MemoryDocuments } from "./memory-documents.ts";
import type { Parts } from "./parts.ts";
import { DEFAULT_TENANT, type Principal } from "./principal.ts";
import { AttemptLimiter, SIGNINGS } from "./rate-limit.ts";
import { RefusalAudit } from "./refusal-audit.ts";

/** Parts over documents in memory and a clock that stands still. */
export interface TestParts extends Parts {
  readonly documents: MemoryDocuments;
  readonly manual: ManualPorts;
}

export function testParts(documents: MemoryDocuments = memoryDocuments()): TestParts {
  const manual = manualPorts();
  const { ports } = manual;
  const common = { documents, ports, log: silentLogger, tenant: DEFAULT_TENANT };
  return {
    ...common,
    manual,
    attempts: new AttemptLimiter(ports.clock),
    signings: new AttemptLimiter(ports.clock, SIGNINGS),
    refusals: new RefusalAudit(common),
    audience: "installation-1",
  };
}

export const FROM = { address: "192.0.2.7", requestId: "request-1" } as const;

export const ADMIN: Principal = {
  tenant: DEFAULT_TENANT,
  name: "token:boss",
  kind: "user",
  via: "token",
  role: "admin",
  credential: "bossbossboss",
};

/** The code that something is refused with; `ok` where it is not. */
export async function codeOf(run: () => unknown): Promise<string> {
  try {
    await run();
    return "ok";
  } catch (error) {
    return toTransporterError(error).code;
  }
}
