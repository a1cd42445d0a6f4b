/** Bounds of the wire, in one place so that both sides refuse the same things. Sizes in bytes unless the name says otherwise. */
export const LIMITS = {
  /** Longest id of an event or agent, in characters; Kubernetes' own bound for names. */
  idChars: 253,
  /** Default for the largest event body that the control plane takes. */
  eventBytes: 32 * 1024 * 1024,
  /** Largest frame an agent may send: a status with the result of some 10,000 objects. */
  agentFrameBytes: 16 * 1024 * 1024,
  /** Largest registration frame. */
  registrationBytes: 64 * 1024,
  /** Payloads above this many bytes lie apart and are fetched in pieces by agents that can. */
  payloadApartBytes: 256 * 1024,
  /** Encoded bytes of one piece of a payload. */
  payloadPieceBytes: 128 * 1024,
  /** Longest Idempotency-Key, in characters. */
  idempotencyKeyChars: 255,
  /** How often an event may ask to be tried. */
  retryAttempts: 100,
  labels: 64,
  labelKeyChars: 317,
  labelValueChars: 1024,
  creatorChars: 1024,
  /** TTL and deadline bounds, in milliseconds. */
  ttlMinMs: 1,
  ttlMaxMs: 10 * 365 * 24 * 3_600_000,
  ttlDefaultMs: 24 * 3_600_000,
  /** Execution deadline when an event gives none. */
  deadlineDefaultMs: 3_600_000,
  verifyTimeoutDefaultMs: 120_000,
  priorityAbs: 1_000_000_000,
  pageDefault: 50,
  pageMax: 500,
  /** Longest message of a status update, in characters; longer ones are cut by the sender. */
  messageChars: 16_384,
} as const;
