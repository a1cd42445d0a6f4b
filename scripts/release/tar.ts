import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";

export interface TarEntry {
  /** Relative, ASCII, at most 100 characters. */
  readonly name: string;
  readonly executable?: boolean;
  /** What is in it: text, or a file whose content is taken as it is. */
  readonly content: { readonly text: string } | { readonly path: string };
}

export interface TarOptions {
  /** The time of every entry, so that the same entries make the same bytes. */
  readonly atSeconds: number;
  readonly gzip: boolean;
}

const BLOCK = 512;

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, "0")}\0`;
}

function header(name: string, mode: number, bytes: number, atSeconds: number): Buffer {
  if (!/^[\x21-\x7e]{1,100}$/.test(name) || name.startsWith("/") || name.split("/").includes(".."))
    throw new Error(`${JSON.stringify(name)} cannot be a name in an archive`);
  // 11 octal digits are 8 GiB.
  if (bytes >= 8 ** 11) throw new Error(`${name} is too large for an archive`);
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, "ascii");
  block.write(octal(mode, 8), 100);
  block.write(octal(0, 8) + octal(0, 8), 108);
  block.write(octal(bytes, 12), 124);
  block.write(octal(atSeconds, 12), 136);
  block.write("        ", 148);
  block.write("0", 156);
  block.write("ustar\x0000", 257);
  block.write(
    `${octal(
      block.reduce((sum, byte) => sum + byte, 0),
      7,
    )} `,
    148,
  );
  return block;
}

async function* blocks(entries: readonly TarEntry[], atSeconds: number): AsyncGenerator<Uint8Array> {
  const names = new Set<string>();
  for (const { name, executable = false, content } of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    if (names.has(name)) throw new Error(`${name} is in the archive twice`);
    names.add(name);
    const bytes = "text" in content ? Buffer.byteLength(content.text) : (await stat(content.path)).size;
    yield header(name, executable ? 0o755 : 0o644, bytes, atSeconds);
    if ("text" in content) yield Buffer.from(content.text);
    else {
      let read = 0;
      for await (const chunk of createReadStream(content.path) as AsyncIterable<Buffer>) {
        read += chunk.length;
        yield chunk;
      }
      if (read !== bytes) throw new Error(`${content.path} changed while it was packed`);
    }
    if (bytes % BLOCK > 0) yield Buffer.alloc(BLOCK - (bytes % BLOCK));
  }
  yield Buffer.alloc(BLOCK * 2);
}

/** Writes a tar (POSIX.1-1988 ustar) that depends on names and contents alone: sorted, owned by nobody in particular, of one time. */
export async function writeTar(path: string, entries: readonly TarEntry[], { atSeconds, gzip }: TarOptions): Promise<void> {
  const source = Readable.from(blocks(entries, atSeconds));
  const target = createWriteStream(path);
  // Node writes no time and no name into the header of a gzip.
  await (gzip ? pipeline(source, createGzip({ level: 9 }), target) : pipeline(source, target));
}
