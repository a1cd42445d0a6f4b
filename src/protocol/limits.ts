/** Bounds of the wire, in one place so that both sides refuse the same things. Sizes in bytes unless the name says otherwise. */
export const LIMITS = {
  /** Longest id of an event or agent, in characters; Kubernetes' own bound for names. */
  idChars: 253,
  /** The longest attribute of a CloudEvent. */
  cloudAttributeChars: 4_096,
  /** Default for the largest event body that the control plane takes. */
  eventBytes: 32 * 1024 * 1024,
  /** A JSON text of up to so many bytes is parsed without a look at what it holds. */
  jsonFreeBytes: 64 * 1024,
  /** What a longer one of an event may hold: manifests are texts, so there are few values. */
  eventJson: { depth: 128, values: 100_000 },
  /** What a longer frame may hold: a status lists what became of 10,000 objects. */
  frameJson: { depth: 128, values: 500_000 },
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
