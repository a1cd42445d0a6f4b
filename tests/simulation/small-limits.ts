import { LIMITS } from "../../src/protocol/mod.ts";

/**
 * Payloads of a few kilobytes lie apart and are fetched in several pieces, so that a small scenario has all of that in it. Only while `run`
 * does its work, which must be synchronous: other tests of the same process live by the real limits.
 */
export function withSmallLimits<T>(run: () => T): T {
  const { payloadApartBytes, payloadPieceBytes } = LIMITS;
  Object.assign(LIMITS, { payloadApartBytes: 3_000, payloadPieceBytes: 2_048 });
  try {
    return run();
  } finally {
    Object.assign(LIMITS, { payloadApartBytes, payloadPieceBytes });
  }
}
