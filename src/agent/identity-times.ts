/** Times of an agent's identity, in milliseconds. */
export const IDENTITY_TIMES = {
  /** Between two attempts to enrol or renew where the control plane does not answer. */
  retryFirst: 2_000,
  retryMax: 60_000,
  /** No control plane is left alone for longer than this, whatever it asks for. */
  askedMax: 600_000,
  /** Between two looks whether somebody has approved. */
  pendingFirst: 2_000,
  pendingMax: 30_000,
  /** Where nothing but a fresh token helps, and between two renewals because a connection was refused. */
  helplessMin: 30_000,
  helplessMax: 60_000,
  /** The clock may jump, and a machine may sleep: the time is looked at again this often. */
  look: 600_000,
  /** What somebody else renews is read again this often. */
  reread: 60_000,
} as const;
