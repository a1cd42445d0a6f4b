/** Reads the archives that engines write: a tar of layers, and JSON that says what they are. */
import { open } from "node:fs/promises";

export interface LayerSize {
  /** The first file in it that is not a directory. */
  readonly holds: string;
  readonly bytes: number;
  readonly gzip?: number;
  readonly zstd?: number;
}

export interface ImageSizes {
  readonly bytes: number;
  readonly gzip?: number;
  readonly zstd?: number;
  readonly layers: readonly LayerSize[];
}

/** Of an image's configuration what is looked at. */
export interface ImageConfig {
  readonly architecture: string;
  readonly created: string;
  readonly config: {
    readonly User: string;
    readonly Entrypoint: readonly string[];
    readonly WorkingDir?: string;
    readonly Labels: Readonly<Record<string, string>>;
  };
}

export interface TarEntry {
  readonly name: string;
  readonly mode: number;
  readonly uid: number;
  readonly mtime: number;
  readonly type: "file" | "directory" | "link" | "other";
  readonly data: Uint8Array;
}

/** Every entry, its data not copied. Long names (GNU and pax) are not needed here and are refused. */
export function* readTar(bytes: Uint8Array): Generator<TarEntry> {
  const text = new TextDecoder();
  const field = (at: number, length: number): string => text.decode(bytes.subarray(at, at + length)).replace(/\0.*$/s, "");
  const octal = (at: number, length: number): number => Number.parseInt(field(at, length).trim() || "0", 8);
  for (let at = 0; at + 512 <= bytes.length && bytes[at] !== 0;) {
    const flag = field(at + 156, 1);
    const prefix = field(at + 257, 5) === "ustar" ? field(at + 345, 155) : "";
    const size = octal(at + 124, 12);
    if (flag === "L" || flag === "x") throw new Error(`an entry of kind ${flag} was not expected in an image's archive`);
    yield {
      name: `${prefix === "" ? "" : `${prefix}/`}${field(at, 100)}`,
      mode: octal(at + 100, 8),
      uid: octal(at + 108, 8),
      mtime: octal(at + 136, 12),
      type: flag === "" || flag === "0" ? "file" : flag === "5" ? "directory" : flag === "1" || flag === "2" ? "link" : "other",
      data: bytes.subarray(at + 512, at + 512 + size),
    };
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

export interface ImageArchive {
  readonly reference: string;
  readonly config: ImageConfig;
  /** Lowest first, as tar. */
  readonly layers: readonly Uint8Array[];
}

export async function readArchive(path: string): Promise<ImageArchive> {
  const entries = new Map<string, Uint8Array>();
  for (const { name, type, data } of readTar(await bytesOf(path))) if (type === "file") entries.set(name, data);
  const json = (name: string): unknown => JSON.parse(new TextDecoder().decode(entries.get(name) ?? new Uint8Array()));
  const [manifest] = json("manifest.json") as {
    readonly Config: string;
    readonly RepoTags: readonly string[];
    readonly Layers: readonly string[];
  }[];
  if (manifest === undefined) throw new Error(`${path} holds no image`);
  return {
    reference: manifest.RepoTags[0] ?? "",
    config: json(manifest.Config) as ImageConfig,
    layers: manifest.Layers.map((layer) => entries.get(layer) ?? new Uint8Array()),
  };
}

async function bytesOf(path: string): Promise<Uint8Array> {
  await using file = await open(path);
  return await file.readFile();
}

/** gzip as registries have it by default, zstd at 19, the most that every runtime unpacks. */
export async function measureArchive(path: string, compressed: boolean): Promise<ImageSizes> {
  const layers: LayerSize[] = [];
  for (const layer of (await readArchive(path)).layers) {
    const first = readTar(layer).find(({ name, type }) => type === "file" && !name.endsWith("LICENSE"));
    const base = { holds: first?.name ?? "nothing", bytes: layer.byteLength };
    layers.push(
      compressed
        ? { ...base, gzip: Bun.gzipSync(new Uint8Array(layer)).byteLength, zstd: (await Bun.zstdCompress(layer, { level: 19 })).byteLength }
        : base,
    );
  }
  const sum = (of: (layer: LayerSize) => number): number => layers.reduce((total, layer) => total + of(layer), 0);
  return {
    bytes: sum(({ bytes }) => bytes),
    layers,
    ...(compressed ? { gzip: sum(({ gzip = 0 }) => gzip), zstd: sum(({ zstd = 0 }) => zstd) } : {}),
  };
}
