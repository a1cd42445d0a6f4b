/** Times of the link, in milliseconds. */
export const LINK = {
  backoffFirst: 200,
  backoffMax: 15_000,
  /** A link that had stood: all who lost the same control plane come back spread over this, and soon. */
  lostSpread: 2_000,
  /** Turned away at the door (503 before the upgrade, 1013 after): there are too many at once, and it passes quickly. */
  refusedFirst: 1_000,
  refusedMax: 5_000,
  /** A link that stood this long counts as good: the next wait begins from the start again. */
  settled: 5_000,
  registrationTimeout: 10_000,
  /** The same while there are other addresses that were not tried yet: a process that stands still takes a connection and never answers. */
  impatientTimeout: 5_000,
  ping: 10_000,
  /** No life for this long: the link is half-open. Seen within 30 s, as it is looked for every second. */
  silence: 25_000,
  watch: 1_000,
  /** Told to go elsewhere, or with another address to try: soon, yet not all in the same moment. */
  moveSpread: 200,
  /** Another agent has our id, or we were removed: whoever is right, coming back at once would only start a fight. */
  /** Unless that may be a connection that we gave up ourselves and that a busy control plane took on all the same. */
  replacedPauseMin: 1_000,
  replacedPauseMax: 3_000,
  replacedMemory: 120_000,
  evictedPauseMin: 30_000,
  evictedPauseMax: 60_000,
  goodbye: 1_000,
} as const;

/** Of RFC 6455's registry: the store behind the control plane does not answer now. */
export const CLOSE_TRY_AGAIN_LATER = 1013;
