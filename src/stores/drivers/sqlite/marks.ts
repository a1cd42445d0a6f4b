import type { Statement } from "bun:sqlite";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";

/** Texts under names: how far somebody has come. */
export class Marks {
  readonly #save: Statement<unknown, [string, string]>;
  readonly #get: Statement<{ readonly value: string }, [string]>;

  constructor(database: OpenedDatabase) {
    this.#save = database.prepare("INSERT INTO mark (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value");
    this.#get = database.prepare("SELECT value FROM mark WHERE name = ?");
  }

  save(name: string, value: string): void {
    this.#save.run(name, value);
  }

  get(name: string): string | undefined {
    return this.#get.get(name)?.value;
  }
}
