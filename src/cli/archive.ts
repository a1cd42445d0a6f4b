import { crc32, deflateRawSync, gzipSync } from "node:zlib";

export interface ArchiveFile {
  /** ASCII, at most 100 characters, relative. */
  readonly name: string;
  readonly content: string;
}

const BLOCK = 512;

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits - 1, "0");
}

/** A gzipped tar of plain files, mode 0600. Source: POSIX.1-1988 ustar. */
export function tarGz(files: readonly ArchiveFile[], nowMs: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (const file of files) {
    const body = Buffer.from(file.content, "utf8");
    const header = Buffer.alloc(BLOCK);
    header.write(file.name, 0, 100, "ascii");
    header.write(`${octal(0o600, 8)}\0`, 100);
    header.write(`${octal(0, 8)}\0${octal(0, 8)}\0`, 108);
    header.write(`${octal(body.length, 12)}\0`, 124);
    header.write(`${octal(Math.floor(nowMs / 1000), 12)}\0`, 136);
    header.write("        ", 148);
    header.write("0", 156);
    header.write("ustar\x0000", 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${octal(sum, 7)}\0 `, 148);
    blocks.push(header, body, Buffer.alloc((BLOCK - (body.length % BLOCK)) % BLOCK));
  }
  blocks.push(Buffer.alloc(BLOCK * 2));
  return gzipSync(Buffer.concat(blocks));
}

/** A zip of plain files. Source: PKWARE APPNOTE 6.3, sections 4.3.7, 4.3.12 and 4.3.16. */
export function zip(files: readonly ArchiveFile[], nowMs: number): Uint8Array {
  const date = new Date(nowMs);
  const dosTime = (date.getUTCHours() << 11) | (date.getUTCMinutes() << 5) | (date.getUTCSeconds() >> 1);
  const dosDate = ((date.getUTCFullYear() - 1980) << 9) | ((date.getUTCMonth() + 1) << 5) | date.getUTCDate();
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const file of files) {
    const body = Buffer.from(file.content, "utf8");
    const packed = deflateRawSync(body);
    const name = Buffer.from(file.name, "ascii");
    const shared = Buffer.alloc(26);
    shared.writeUInt16LE(20, 0);
    shared.writeUInt16LE(0, 2);
    shared.writeUInt16LE(8, 4);
    shared.writeUInt16LE(dosTime, 6);
    shared.writeUInt16LE(dosDate, 8);
    shared.writeUInt32LE(crc32(body), 10);
    shared.writeUInt32LE(packed.length, 14);
    shared.writeUInt32LE(body.length, 18);
    shared.writeUInt16LE(name.length, 22);
    parts.push(Buffer.from("PK\u0003\u0004", "latin1"), shared, name, packed);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE((0o100600 << 16) >>> 0, 6);
    tail.writeUInt32LE(offset, 10);
    // Made by Unix, so that the mode above counts.
    directory.push(Buffer.from("PK\u0001\u0002\u0014\u0003", "latin1"), shared, tail, name);
    offset += 4 + shared.length + name.length + packed.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\u0005\u0006", 0, "latin1");
  end.writeUInt16LE(files.length, 8);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]);
}
