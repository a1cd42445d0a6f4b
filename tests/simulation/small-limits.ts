import { LIMITS } from "../../src/protocol/mod.ts";

/** Payloads of a few kilobytes lie apart and are fetched in several pieces, so that a small scenario has all of that in it. */
Object.assign(LIMITS, { payloadApartBytes: 3_000, payloadPieceBytes: 2_048 });
