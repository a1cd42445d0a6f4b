import type { Statement } from "bun:sqlite";
import { LIMITS, type PayloadRef } from "../../../protocol/mod.ts";
import type { OpenedDatabase } from "../../../sqlite/mod.ts";
import type { EncodedPayload } from "../../port.ts";
import type { Tally } from "./tally.ts";

/** Pieces that one transaction writes or removes: half a megabyte, so that nobody waits long behind it. */
export const PIECES_AT_ONCE = 4;
const PIECES_OF_ONE = 4096;
/** How long a payload without an event is kept: its event is about to come. */
const ORPHAN_MS = 3_600_000;

interface ApartRow {
  readonly no: number;
  readonly bytes: number;
  readonly encoded_bytes: number;
  readonly encoded_hash: string;
  readonly pieces: number;
  readonly complete: number;
}

/**
 * Large payloads, encoded, in pieces, once for each digest. Each call is one short transaction. What is not there as a whole is not
 * there for anybody, and is gone on with where it was left.
 */
export class Payloads {
  readonly #tally: Tally;
  readonly #find: Statement<ApartRow, [string]>;
  readonly #byNo: Statement<ApartRow & { readonly digest: string }, [number]>;
  readonly #insert: Statement<unknown, [number, string, number, number, string, number]>;
  readonly #progress: Statement<unknown, [number, number, number, number]>;
  readonly #restart: Statement<unknown, [number, string, number]>;
  readonly #addPiece: Statement<unknown, [number, Uint8Array]>;
  readonly #piece: Statement<{ readonly data: Uint8Array }, [number]>;
  readonly #orphan: Statement<ApartRow, [number]>;
  readonly #dropPieces: Statement<unknown, [number, number]>;
  readonly #hide: Statement<unknown, [number, number]>;
  readonly #drop: Statement<unknown, [number]>;

  constructor(database: OpenedDatabase, tally: Tally) {
    this.#tally = tally;
    const columns = "no, bytes, encoded_bytes, encoded_hash, pieces, complete";
    this.#find = database.prepare(`SELECT ${columns} FROM apart WHERE digest = ?`);
    this.#byNo = database.prepare(`SELECT digest, ${columns} FROM apart WHERE no = ?`);
    this.#insert = database.prepare(
      "INSERT INTO apart (no, digest, bytes, encoded_bytes, encoded_hash, saved_at_ms, pieces, complete) VALUES (?, ?, ?, ?, ?, ?, 0, 0)",
    );
    this.#progress = database.prepare("UPDATE apart SET pieces = ?, complete = ?, saved_at_ms = ? WHERE no = ?");
    this.#restart = database.prepare("UPDATE apart SET pieces = 0, encoded_bytes = ?, encoded_hash = ? WHERE no = ?");
    this.#addPiece = database.prepare("INSERT INTO apart_piece (id, data) VALUES (?, ?)");
    this.#piece = database.prepare("SELECT data FROM apart_piece WHERE id = ?");
    this.#orphan = database.prepare(
      `SELECT ${columns} FROM apart a WHERE saved_at_ms <= ?
       AND NOT EXISTS (SELECT 1 FROM event e INDEXED BY event_by_apart WHERE e.apart_no = a.no) LIMIT 1`,
    );
    this.#dropPieces = database.prepare("DELETE FROM apart_piece WHERE id >= ? AND id < ?");
    this.#hide = database.prepare("UPDATE apart SET complete = 0, pieces = ? WHERE no = ?");
    this.#drop = database.prepare("DELETE FROM apart WHERE no = ?");
  }

  /** Writes the next few pieces; answers whether the payload is there as a whole now. */
  save(payload: EncodedPayload, hash: string, nowMs: number): boolean {
    const { encoded } = payload;
    const all = Math.ceil(encoded.byteLength / LIMITS.payloadPieceBytes);
    let row = this.#find.get(payload.digest);
    if (row?.complete === 1) {
      // Its event is about to come: the hour that it is kept without one begins anew.
      this.#progress.run(row.pieces, 1, nowMs, row.no);
      return true;
    }
    if (row === null) {
      const no = this.#tally.next("payload");
      this.#insert.run(no, payload.digest, payload.bytes, encoded.byteLength, hash, nowMs);
      row = { no, bytes: payload.bytes, encoded_bytes: encoded.byteLength, encoded_hash: hash, pieces: 0, complete: 0 };
    } else if (row.encoded_hash !== hash || row.encoded_bytes !== encoded.byteLength) {
      // Another version of the encoder left it half written: its pieces do not fit to these.
      this.#dropPieces.run(row.no * PIECES_OF_ONE, (row.no + 1) * PIECES_OF_ONE);
      this.#restart.run(encoded.byteLength, hash, row.no);
      row = { ...row, pieces: 0 };
    }
    const to = Math.min(all, row.pieces + PIECES_AT_ONCE);
    for (let at = row.pieces; at < to; at += 1) {
      const from = at * LIMITS.payloadPieceBytes;
      this.#addPiece.run(row.no * PIECES_OF_ONE + at, encoded.subarray(from, from + LIMITS.payloadPieceBytes));
    }
    this.#progress.run(to, to === all ? 1 : 0, nowMs, row.no);
    return to === all;
  }

  piece(digest: string, offset: number): Uint8Array | undefined {
    const at = offset / LIMITS.payloadPieceBytes;
    const row = this.#find.get(digest);
    if (row === null || row.complete !== 1 || !Number.isInteger(at) || at < 0 || at >= row.pieces) return undefined;
    return this.#piece.get(row.no * PIECES_OF_ONE + at)?.data;
  }

  /** The number that an event refers to a payload by; undefined when it is not there. */
  noOf(digest: string): number | undefined {
    const row = this.#find.get(digest);
    return row?.complete === 1 ? row.no : undefined;
  }

  ref(no: number): PayloadRef | undefined {
    const row = this.#byNo.get(no);
    return row === null ? undefined : { digest: row.digest, bytes: row.bytes, encoding: "zstd", encoded_bytes: row.encoded_bytes };
  }

  /** Removes some pieces of a payload that no event refers to, and the payload with the last of them; answers whether there was one. */
  sweep(nowMs: number): boolean {
    const row = this.#orphan.get(nowMs - ORPHAN_MS);
    if (row === null) return false;
    // From the end, so that what is left is the beginning of a payload as a crash may leave it.
    const left = Math.max(0, row.pieces - PIECES_AT_ONCE * 4);
    this.#dropPieces.run(row.no * PIECES_OF_ONE + left, (row.no + 1) * PIECES_OF_ONE);
    if (left === 0) this.#drop.run(row.no);
    else this.#hide.run(left, row.no);
    return true;
  }
}
