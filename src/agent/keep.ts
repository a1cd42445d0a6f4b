/**
 * What one event has to remember while it is open, over a crash of the agent too: texts by name. What `set` has resolved is as durable as
 * the ledger is, and gone with the event's end. Errors: STORE_FULL and STORE_UNAVAILABLE; nothing was kept then.
 */
export interface Keep {
  /** Whether it outlives the process: an agent without a disk forgets. */
  readonly lasting: boolean;
  /** Keeps a text; one of the same name before it is forgotten. */
  set(name: string, text: string): Promise<void>;
  /** What this process or an earlier one kept. */
  get(name: string): Promise<string | undefined>;
}
