/** How long things may take. Tests that wait for the end of some of them have others. */
export interface Tuning {
  /** For the connection to stand, credentials checked; the broker looks them up in a database. */
  readonly connectMs: number;
  /** Between signs of life asked of the broker; after two without answer the connection counts as lost. */
  readonly pingMs: number;
  readonly reconnectFirstMs: number;
  readonly reconnectMaxMs: number;
  /** For stations, producers and consumers: the broker may first ask a site on the internet, which it may not reach. */
  readonly controlMs: number;
  /** For the answer to a message published, acknowledged, or asked about. */
  readonly answerMs: number;
  /** In all, for a message to be kept. */
  readonly publishMs: number;
  /** How long a pull waits for a message. */
  readonly pullMs: number;
  /** How much later than it waits itself the broker may say that nothing came. */
  readonly graceMs: number;
  /** Between tries to make what could not be made. */
  readonly againMs: number;
}

export const TUNING: Tuning = {
  connectMs: 10_000,
  pingMs: 5_000,
  reconnectFirstMs: 100,
  reconnectMaxMs: 2_000,
  controlMs: 20_000,
  answerMs: 5_000,
  publishMs: 10_000,
  pullMs: 5_000,
  graceMs: 2_000,
  againMs: 60_000,
};
