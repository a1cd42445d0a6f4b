import type { Statement } from "bun:sqlite";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";

export type Value = string | number | null;

/** Rows written by one statement, most first: a call costs as much as two rows, so sixteen together cost a third of sixteen alone. */
const SIZES = [16, 4, 1] as const;

/** Rows of one table, gathered within a transaction and written a few at a time. `flush` must run before anybody reads the table, and before the commit. */
export class RowBatch<Row extends Value[]> {
  readonly #database: OpenedDatabase;
  readonly #into: string;
  readonly #row: string;
  readonly #width: number;
  readonly #statements = new Map<number, Statement<unknown, Value[]>>();
  #values: Value[] = [];

  constructor(database: OpenedDatabase, table: string, columns: { readonly [At in keyof Row]: string }) {
    this.#database = database;
    this.#into = `INSERT INTO ${table} (${columns.join(", ")}) VALUES `;
    this.#row = `(${columns.map(() => "?").join(", ")})`;
    this.#width = columns.length;
  }

  add(...row: Row): void {
    this.#values.push(...row);
  }

  flush(): void {
    const values = this.#values;
    if (values.length === 0) return;
    this.#values = [];
    let at = 0;
    for (const rows of SIZES) {
      const size = rows * this.#width;
      while (values.length - at >= size) {
        this.#of(rows).run(...values.slice(at, at + size));
        at += size;
      }
    }
  }

  /** The transaction is gone, and what was gathered with it. */
  clear(): void {
    if (this.#values.length > 0) this.#values = [];
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
