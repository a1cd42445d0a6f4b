import type { Database, SQLQueryBindings } from "bun:sqlite";

/**
 * What of a process outlives it: a database in memory. A crash keeps what was committed and nothing else. Whoever comes next uses the same
 * connection, which is safe because a dead process has no turns of the event loop left in which anything could be committed.
 */
export class Disk {
  readonly #database: Database;
  #inUse = false;

  constructor(database: Database) {
    this.#database = database;
  }

  open(): Database {
    if (this.#inUse) throw new Error("the disk is in use");
    this.#inUse = true;
    return this.#database;
  }

  /** The process that has it open is gone. */
  crash(): void {
    if (this.#database.inTransaction) this.#database.run("ROLLBACK");
    this.#inUse = false;
  }

  /** Changes what is there behind everybody's back. */
  tamper(sql: string, ...values: readonly (string | number)[]): void {
    this.#database.query(sql).run(...values);
  }

  /** All that is there, to be put back by `restore`. */
  tables(): Map<string, readonly Record<string, SQLQueryBindings>[]> {
    const names = this.#database.query<{ name: string }, []>("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
    return new Map(
      names.map(({ name }) => [name, this.#database.query<Record<string, SQLQueryBindings>, []>(`SELECT * FROM ${name}`).all()]),
    );
  }

  /** Puts these tables back to what they were. */
  restore(tables: ReadonlyMap<string, readonly Record<string, SQLQueryBindings>[]>): void {
    const database = this.#database;
    database.run("BEGIN");
    for (const [table, rows] of tables) {
      database.run(`DELETE FROM ${table}`);
      const columns = Object.keys(rows[0] ?? {});
      const insert = `INSERT INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`;
      for (const row of rows) database.query(insert).run(...Object.values(row));
    }
    database.run("COMMIT");
  }

  /** Looks at what is there. */
  read<Row>(sql: string): Row[] {
    return this.#database.query<Row, []>(sql).all();
  }
}

/** Databases that are used again for the next run: emptying one takes a fraction of what making one does. */
export class DiskPool {
  readonly #make: () => Database;
  readonly #reset: (database: Database) => void;
  readonly #free: Database[] = [];
  readonly #taken: Database[] = [];

  constructor(make: () => Database, reset: (database: Database) => void) {
    this.#make = make;
    this.#reset = reset;
  }

  take(): Disk {
    const database = this.#free.pop() ?? this.#make();
    this.#taken.push(database);
    return new Disk(database);
  }

  /** The run is over. */
  giveBack(): void {
    for (const database of this.#taken.splice(0)) {
      if (database.inTransaction) database.run("ROLLBACK");
      this.#reset(database);
      this.#free.push(database);
    }
  }
}
