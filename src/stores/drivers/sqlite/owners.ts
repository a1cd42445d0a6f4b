import type { Statement } from "bun:sqlite";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";

/** Stands in memory for an agent that has no row: nobody owns it, so nobody is fenced. */
const NO_ROW = -1;

/**
 * The epochs of agents, kept in memory because this process is their only writer: every status is held against one. A row that was written
 * with an epoch must be told to `set`, one that is gone to `forget`.
 */
export class Owners {
  readonly #epochs = new Map<string, number>();
  readonly #select: Statement<{ readonly epoch: number }, [string, string]>;
  readonly #adopt: Statement<unknown, [number, string, string]>;

  constructor(database: OpenedDatabase) {
    this.#select = database.prepare("SELECT epoch FROM agent WHERE tenant = ? AND id = ?");
    this.#adopt = database.prepare("UPDATE agent SET epoch = ? WHERE tenant = ? AND id = ?");
  }

  /**
   * Whether a write of the connection with this epoch counts. One above what is known here counts too, and is what holds from then on: the
   * store was put back to an earlier state, and the connection is the newest all the same.
   */
  admits(tenant: string, agentId: string, epoch: number): boolean {
    const stored = this.of(tenant, agentId);
    if (stored === undefined) return true;
    if (epoch < stored) return false;
    if (epoch > stored) {
      this.#adopt.run(epoch, tenant, agentId);
      this.set(tenant, agentId, epoch);
    }
    return true;
  }

  /** Undefined for an agent without a row. */
  of(tenant: string, agentId: string): number | undefined {
    const key = keyOf(tenant, agentId);
    let epoch = this.#epochs.get(key);
    if (epoch === undefined) {
      epoch = this.#select.get(tenant, agentId)?.epoch ?? NO_ROW;
      this.#epochs.set(key, epoch);
    }
    return epoch === NO_ROW ? undefined : epoch;
  }

  set(tenant: string, agentId: string, epoch: number): void {
    this.#epochs.set(keyOf(tenant, agentId), epoch);
  }

  forget(tenant: string, agentId: string): void {
    this.#epochs.delete(keyOf(tenant, agentId));
  }

  /** The transaction is gone, and what memory says with it. */
  undo(): void {
    this.#epochs.clear();
  }
}

function keyOf(tenant: string, agentId: string): string {
  return `${tenant}\u0000${agentId}`;
}
