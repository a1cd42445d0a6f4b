import { readFile } from "node:fs/promises";

export const PAUSE_IMAGE = "localhost/transporter-sandbox/pause:1";

/** One file of a tar archive, padded to blocks. Source: POSIX.1-1988 (ustar). */
function tarEntry(name: string, content: Uint8Array, mode: number): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write(mode.toString(8).padStart(7, "0"), 100);
  header.write("0000000\0".repeat(2), 108);
  header.write(content.length.toString(8).padStart(11, "0"), 124);
  header.write("0".repeat(11), 136);
  header.write(" ".repeat(8), 148);
  header.write("0", 156);
  header.write("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

function tar(entries: Readonly<Record<string, { readonly content: Uint8Array; readonly mode?: number }>>): Buffer {
  const parts = Object.entries(entries).map(([name, { content, mode }]) => tarEntry(name, content, mode ?? 0o644));
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}

/** An archive as `docker save` writes it, of an image with one static program and nothing else. */
export async function imageOfProgram(image: string, programPath: string, command: readonly string[]): Promise<Buffer> {
  const program = programPath.split("/").at(-1) ?? "program";
  const layer = tar({ [program]: { content: await readFile(programPath), mode: 0o755 } });
  const diffId = `sha256:${new Bun.CryptoHasher("sha256").update(layer).digest("hex")}`;
  const config = {
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: { Entrypoint: [`/${program}`, ...command] },
    rootfs: { type: "layers", diff_ids: [diffId] },
  };
  const manifest = [{ Config: "config.json", RepoTags: [image], Layers: ["layer.tar"] }];
  return tar({
    "layer.tar": { content: layer },
    "config.json": { content: Buffer.from(JSON.stringify(config)) },
    "manifest.json": { content: Buffer.from(JSON.stringify(manifest)) },
  });
}
