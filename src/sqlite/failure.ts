import { SQLiteError } from "bun:sqlite";
import { TransporterError } from "../kit/mod.ts";

/**
 * What a failed call into SQLite means: a TransporterError passes as it is, SQLITE_FULL is STORE_FULL, a damaged file STORE_CORRUPT, a
 * lock, an I/O error or lack of memory STORE_UNAVAILABLE; anything else SQLite says is a bug of ours (INTERNAL). `what` names the file's purpose.
 * Source of the codes: https://www.sqlite.org/rescode.html
 */
export function sqliteFailure(thrown: unknown, what: string): TransporterError {
  if (thrown instanceof TransporterError) return thrown;
  if (!(thrown instanceof SQLiteError)) return new TransporterError("INTERNAL", `an unexpected fault in the ${what}`, { cause: thrown });
  const code = thrown.code ?? "";
  const details = { sqlite: code };
  if (code === "SQLITE_FULL") return new TransporterError("STORE_FULL", `the disk of the ${what} is full`, { cause: thrown, details });
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB")
    return new TransporterError("STORE_CORRUPT", `the file of the ${what} is damaged: ${thrown.message}`, { cause: thrown, details });
  if (/^SQLITE_(BUSY|LOCKED|IOERR|CANTOPEN|READONLY|NOMEM|PROTOCOL|PERM|INTERRUPT)/.test(code))
    return new TransporterError("STORE_UNAVAILABLE", `the ${what} cannot be written or read: ${thrown.message}`, {
      cause: thrown,
      details,
    });
  return new TransporterError("INTERNAL", `an unexpected fault in the ${what}: ${thrown.message}`, { cause: thrown, details });
}
