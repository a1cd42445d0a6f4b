import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";
import { TransporterError } from "../kit/mod.ts";

const HEADER_BYTES = 32;
const FRAME_HEADER_BYTES = 24;
/** The last bit says in which order of bytes checksums are counted. */
const MAGIC = 0x377f0682;

interface Sums {
  a: number;
  b: number;
}

/** SQLite's running checksum over pairs of 32-bit words. */
function addUp(sums: Sums, view: DataView, from: number, bytes: number, littleEndian: boolean): void {
  let { a, b } = sums;
  for (let at = from; at < from + bytes; at += 8) {
    a = (a + view.getUint32(at, littleEndian) + b) >>> 0;
    b = (b + view.getUint32(at + 4, littleEndian) + a) >>> 0;
  }
  sums.a = a;
  sums.b = b;
}

/**
 * STORE_CORRUPT where a write-ahead log that a crash left is damaged in a part that had reached the disk. SQLite itself takes the first frame
 * that does not add up for the torn end of the last transaction and forgets everything behind it without a word: acknowledged transactions
 * too, when the damage is further in. Each commit is synced before the next frame is written, so a frame that was written on top of a commit
 * behind the first bad one says that the bad one was whole once. Damage in the very last transaction cannot be told from a torn end. To be
 * called before the database is opened.
 * Source: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
 */
export function checkWal(databasePath: string, what: string): void {
  const path = `${databasePath}-wal`;
  if (!existsSync(path)) return;
  const file = openSync(path, "r");
  try {
    const { size } = fstatSync(file);
    if (size <= HEADER_BYTES) return;
    const damage = findDamage(file, size);
    if (damage === undefined) return;
    throw new TransporterError("STORE_CORRUPT", `the write-ahead log of the ${what} ${databasePath} is damaged: ${damage}`, {
      details: { path },
    });
  } finally {
    closeSync(file);
  }
}

function read(file: number, at: number, bytes: number): DataView | undefined {
  const buffer = new Uint8Array(bytes);
  return readSync(file, buffer, 0, bytes, at) === bytes ? new DataView(buffer.buffer) : undefined;
}

function findDamage(file: number, size: number): string | undefined {
  const header = read(file, 0, HEADER_BYTES);
  if (header === undefined) return undefined;
  const sums: Sums = { a: 0, b: 0 };
  const littleEndian = (header.getUint32(0) & 1) === 0;
  addUp(sums, header, 0, 24, littleEndian);
  const pageBytes = header.getUint32(8);
  const known = (header.getUint32(0) & ~1) >>> 0 === MAGIC && pageBytes >= 512 && pageBytes <= 65_536;
  if (!known || header.getUint32(24) !== sums.a || header.getUint32(28) !== sums.b) {
    // All zeroes: its file was made, and nothing had reached the disk when the power went.
    const blank = new Uint8Array(header.buffer).every((byte) => byte === 0);
    return blank ? undefined : "its header does not add up";
  }
  return damagedFrame(file, size, pageBytes, { a: header.getUint32(24), b: header.getUint32(28) }, header, littleEndian);
}

/** A frame adds up from the checksum that the frame before it holds, whether that one itself is whole or not. */
function damagedFrame(
  file: number,
  size: number,
  pageBytes: number,
  first: Sums,
  header: DataView,
  littleEndian: boolean,
): string | undefined {
  const frameBytes = FRAME_HEADER_BYTES + pageBytes;
  let firstBad: number | undefined;
  let before = { sums: first, commits: false };
  for (let at = HEADER_BYTES, frame = 1; at + frameBytes <= size; at += frameBytes, frame += 1) {
    const view = read(file, at, frameBytes);
    if (view === undefined) return undefined;
    const sums = { ...before.sums };
    addUp(sums, view, 0, 8, littleEndian);
    addUp(sums, view, FRAME_HEADER_BYTES, pageBytes, littleEndian);
    const ofThisLog = view.getUint32(8) === header.getUint32(16) && view.getUint32(12) === header.getUint32(20);
    const addsUp = ofThisLog && view.getUint32(16) === sums.a && view.getUint32(20) === sums.b;
    // Frames of a transaction that was given up may lie behind, but nothing was ever written after one of those.
    if (firstBad !== undefined && addsUp && before.commits) return `frame ${firstBad} does not add up, and whole transactions follow it`;
    if (!addsUp) firstBad ??= frame;
    // The number of pages after the commit; 0 in frames that end no transaction.
    before = { sums: { a: view.getUint32(16), b: view.getUint32(20) }, commits: ofThisLog && view.getUint32(4) !== 0 };
  }
  return undefined;
}
