import type { Database } from "bun:sqlite";
import { type Logger, TransporterError } from "../kit/mod.ts";

/** One step of a schema. Steps are never changed once released; a change is a further step. */
export interface Migration {
  /** From 1, without holes; becomes the file's `user_version`. */
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

export interface MigrateOptions {
  readonly db: Database;
  readonly migrations: readonly Migration[];
  readonly what: string;
  readonly path: string;
  readonly log: Logger;
}

/** Brings a schema up to date, each step in a transaction of its own; answers the version. STORE_TOO_NEW when the file is ahead of this program. */
export function migrate(options: MigrateOptions): number {
  const { db, migrations, what, path, log } = options;
  const newest = migrations.at(-1)?.version ?? 0;
  const found = userVersion(db);
  if (found > newest) {
    throw new TransporterError(
      "STORE_TOO_NEW",
      `the ${what} ${path} has schema ${found}, and this version of Transporter knows up to ${newest}`,
      { details: { path, found, newest } },
    );
  }
  if (found > 0 && found < newest) {
    log.info("Upgrading the schema of a database; going back afterwards needs a backup from before", { path, from: found, to: newest });
  }
  for (const step of migrations) {
    if (step.version <= found) continue;
    db.run("BEGIN IMMEDIATE");
    try {
      db.run(step.sql);
      db.run(`PRAGMA user_version = ${step.version}`);
      db.run("COMMIT");
    } catch (error) {
      if (db.inTransaction) db.run("ROLLBACK");
      throw error;
    }
    if (found > 0) log.info("Schema upgraded", { path, version: step.version, step: step.name });
  }
  return newest;
}

export function userVersion(db: Database): number {
  return db.query<{ user_version: number }, []>("PRAGMA user_version").get()?.user_version ?? 0;
}
