import type { Statement } from "bun:sqlite";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";

export type Value = string | number | null;

/** Rows written by one statement. A call costs as much as a short row. */
const MOST = 16;
const SIZES = [4, 1] as const;

/**
 * Short rows of one table, written sixteen at a time within a transaction. `flush` must run before anybody reads the table, and before the
 * commit. Rows of twenty values gain nothing by it.
 */
export class RowBatch<Row extends Value[]> {
  readonly #database: OpenedDatabase;
  readonly #into: string;
  readonly #row: string;
  readonly #width: number;
  readonly #statements = new Map<number, Statement<unknown, Value[]>>();
  readonly #values: Value[];
  /** How many of the values are rows that are not written yet. */
  #used = 0;

  constructor(database: OpenedDatabase, table: string, columns: { readonly [At in keyof Row]: string }) {
    this.#database = database;
    this.#into = `INSERT INTO ${table} (${columns.join(", ")}) VALUES `;
    this.#row = `(${columns.map(() => "?").join(", ")})`;
    this.#width = columns.length;
    this.#values = Array.from({ length: columns.length * MOST }, () => null);
  }

  add(...row: Row): void {
    const values = this.#values;
    let at = this.#used;
    for (const value of row) {
      values[at] = value;
      at += 1;
    }
    this.#used = at;
    if (at < values.length) return;
    this.#used = 0;
    this.#of(MOST).run(...values);
  }

  flush(): void {
    const used = this.#used;
    if (used === 0) return;
    this.#used = 0;
    let at = 0;
    for (const rows of SIZES) {
      const size = rows * this.#width;
      for (; used - at >= size; at += size) this.#of(rows).run(...this.#values.slice(at, at + size));
    }
  }

  /** The transaction is gone, and what was gathered with it. */
  clear(): void {
    this.#used = 0;
  }

  #of(rows: number): Statement<unknown, Value[]> {
    let statement = this.#statements.get(rows);
    if (statement === undefined) {
      statement = this.#database.prepare<unknown, Value[]>(this.#into + Array.from({ length: rows }, () => this.#row).join(", "));
      this.#statements.set(rows, statement);
    }
    return statement;
  }
}
