import type { Database } from "bun:sqlite";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";

/** Keeps a text for an open delivery, compressed: what objects were is mostly the same words over and over. */
export function keepText(db: Database, key: string, name: string, text: string): void {
  db.query("INSERT INTO kept (key, name, body) VALUES (?, ?, ?) ON CONFLICT (key, name) DO UPDATE SET body = excluded.body").run(
    key,
    name,
    zstdCompressSync(text),
  );
}

export function keptText(db: Database, key: string, name: string): string | undefined {
  const row = db.query<{ body: Uint8Array }, [string, string]>("SELECT body FROM kept WHERE key = ? AND name = ?").get(key, name);
  return row === null ? undefined : zstdDecompressSync(row.body).toString("utf8");
}

export function dropKept(db: Database, key: string): void {
  db.query("DELETE FROM kept WHERE key = ?").run(key);
}

/** What is left of deliveries that are not open, where a file was begun anew in between. */
export function dropKeptOfNobody(db: Database): void {
  db.run("DELETE FROM kept WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.key = kept.key AND state <> 'finished')");
}
