import { Database } from "bun:sqlite";

/**
 * What of a process outlives it: a database in memory. A crash keeps what was committed and nothing else; the next run gets a copy of that on
 * a connection of its own, so that whatever the dead one still does reaches nobody.
 */
export class Disk {
  #bytes: Uint8Array;
  #open: Database | undefined;
  readonly #left: Database[] = [];

  constructor(template: Uint8Array) {
    this.#bytes = template;
  }

  open(): Database {
    if (this.#open !== undefined) throw new Error("the disk is in use");
    for (const database of this.#left.splice(0)) database.close();
    this.#open = Database.deserialize(this.#bytes);
    return this.#open;
  }

  /** The process that has it open is gone. */
  crash(): void {
    const open = this.#open;
    if (open === undefined) return;
    if (open.inTransaction) open.run("ROLLBACK");
    this.#bytes = open.serialize();
    this.#left.push(open);
    this.#open = undefined;
  }

  /** Looks at what is committed. */
  read<Row>(sql: string): Row[] {
    if (this.#open !== undefined) return this.#open.query<Row, []>(sql).all();
    const copy = Database.deserialize(this.#bytes);
    try {
      return copy.query<Row, []>(sql).all();
    } finally {
      copy.close();
    }
  }

  close(): void {
    this.crash();
    for (const database of this.#left.splice(0)) database.close();
  }
}
