/** Whether this is a full run (`just prove`): the counts that an ordinary run keeps small are then as large as they should be. */
export const PROVE = (process.env["TRANSPORTER_PROVE"] ?? "") !== "";

/** How many: `ordinary` in a test run, `full` in a proving one. */
export function count(ordinary: number, full: number): number {
  return PROVE ? full : ordinary;
}
