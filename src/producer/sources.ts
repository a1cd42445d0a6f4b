import { createReadStream } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Timers, TransporterError, messageOf } from "../kit/mod.ts";

/** A manifest as it was read. */
export interface ManifestText {
  /** The path, URL, or "standard input". */
  readonly from: string;
  readonly text: string;
}

export interface SourceOptions {
  /** Also the directories below a directory. */
  readonly recursive: boolean;
  readonly stdin: () => AsyncIterable<Uint8Array>;
  /** Follows no redirect, and asks no address that whoever names one must not make us ask: those of redirects are named by strangers. */
  readonly fetch: (
    url: string,
    bounds: { readonly signal: AbortSignal; readonly timeoutMs: number; readonly maxBytes: number },
  ) => Promise<Response>;
  readonly timers: Timers;
  readonly signal: AbortSignal;
  /** For everything together. */
  readonly maxBytes?: number;
}

const MAX_BYTES = 512 * 1024 * 1024;
const MAX_REDIRECTS = 5;
const FETCH_TIMEOUT_MS = 60_000;
const MANIFEST_NAME = /\.(ya?ml|json)$/i;

/**
 * Reads manifests from files, directories (their .yaml, .yml and .json files, by name), http(s) URLs and standard input (`-`), in the
 * order named. Throws FILE_UNREADABLE naming what could not be read and why; a directory without a manifest is such a case.
 */
export async function readManifests(sources: readonly string[], options: SourceOptions): Promise<ManifestText[]> {
  let bytesLeft = options.maxBytes ?? MAX_BYTES;
  const out: ManifestText[] = [];
  const add = async (from: string, chunks: AsyncIterable<Uint8Array>): Promise<void> => {
    const { text, bytes } = await collectText(chunks, from, bytesLeft);
    bytesLeft -= bytes;
    out.push({ from, text });
  };
  let stdinTaken = false;
  for (const source of sources) {
    options.signal.throwIfAborted();
    if (source === "-") {
      if (stdinTaken) throw new TransporterError("USAGE", "standard input (-) can be read only once");
      stdinTaken = true;
      await add("standard input", options.stdin());
    } else if (/^https?:\/\//i.test(source)) {
      await add(source, await download(source, options, bytesLeft));
    } else if (/^[a-z][a-z0-9+.-]*:\/\//i.test(source)) {
      throw new TransporterError("FILE_UNREADABLE", `${source}: only http and https addresses are read`);
    } else {
      for (const path of await filesAt(source, options.recursive)) await add(path, createReadStream(path));
    }
  }
  return out;
}

/** Reads one text file whole. Throws FILE_UNREADABLE. */
export async function readTextFile(path: string, maxBytes = MAX_BYTES): Promise<string> {
  return (await collectText(createReadStream(path), path, maxBytes)).text;
}

/** Reads chunks as UTF-8 text. Throws FILE_UNREADABLE when they are not, or more than `maxBytes`. */
export async function collectText(
  chunks: AsyncIterable<Uint8Array | string>,
  from: string,
  maxBytes = MAX_BYTES,
): Promise<{ readonly text: string; readonly bytes: number }> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  const parts: string[] = [];
  let bytes = 0;
  try {
    for await (const chunk of chunks) {
      const piece = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
      bytes += piece.byteLength;
      if (bytes > maxBytes) throw new TransporterError("FILE_UNREADABLE", `${from}: larger than ${maxBytes} bytes`);
      parts.push(decoder.decode(piece, { stream: true }));
    }
    parts.push(decoder.decode());
  } catch (error) {
    if (error instanceof TransporterError) throw error;
    if (error instanceof TypeError && /decode|utf|encoded/i.test(error.message))
      throw new TransporterError("FILE_UNREADABLE", `${from}: not UTF-8 text`, { cause: error });
    throw unreadable(from, error);
  }
  return { text: parts.join(""), bytes };
}

function unreadable(path: string, error: unknown): TransporterError {
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
  const why =
    code === "ENOENT"
      ? "no such file or directory"
      : code === "EACCES"
        ? "permission denied"
        : code === "EISDIR"
          ? "is a directory"
          : messageOf(error);
  return new TransporterError("FILE_UNREADABLE", `${path}: ${why}`, { cause: error });
}

async function filesAt(path: string, recursive: boolean): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const found = await filesBelow(path, recursive, 0);
    if (found.length > 0) return found;
  } catch (error) {
    if (error instanceof TransporterError) throw error;
    throw unreadable(path, error);
  }
  throw new TransporterError("FILE_UNREADABLE", `${path}: the directory holds no .yaml, .yml or .json file`, {
    remedy: recursive ? "Name the files themselves." : "Use -R to look into the directories below it as well.",
  });
}

async function filesBelow(directory: string, recursive: boolean, depth: number): Promise<string[]> {
  // Deeper than any tree of manifests: links that lead in a circle end here.
  if (depth > 32) throw new TransporterError("FILE_UNREADABLE", `${directory}: more than 32 directories deep`);
  const out: string[] = [];
  for (const name of (await readdir(directory)).toSorted()) {
    const path = join(directory, name);
    const found = await stat(path);
    if (found.isDirectory()) {
      if (recursive) out.push(...(await filesBelow(path, true, depth + 1)));
    } else if (MANIFEST_NAME.test(name)) out.push(path);
  }
  return out;
}

async function download(source: string, options: SourceOptions, maxBytes: number): Promise<AsyncIterable<Uint8Array>> {
  const { signal } = options;
  const limit = new AbortController();
  options.timers.after(FETCH_TIMEOUT_MS, () => limit.abort(new TransporterError("FILE_UNREADABLE", `${source}: no answer within 60 s`)), {
    background: true,
  });
  let url = new URL(source);
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    let response: Response;
    try {
      response = await options.fetch(url.href, {
        signal: AbortSignal.any([signal, limit.signal]),
        timeoutMs: FETCH_TIMEOUT_MS,
        maxBytes,
      });
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      if (error instanceof TransporterError && error.code === "ADDRESS_REFUSED") throw error;
      throw new TransporterError("FILE_UNREADABLE", `${source}: ${messageOf(limit.signal.aborted ? limit.signal.reason : error)}`, {
        cause: error,
      });
    }
    const location = response.headers.get("location");
    if (response.status >= 300 && response.status < 400 && location !== null) {
      await response.body?.cancel();
      const next = new URL(location, url);
      // Following to a file, or from an encrypted link to an open one, is never what was asked for.
      if (next.protocol !== "https:" && next.protocol !== url.protocol)
        throw new TransporterError("FILE_UNREADABLE", `${source}: redirects to ${next.protocol}// which is not followed`);
      if (next.protocol !== "https:" && next.protocol !== "http:")
        throw new TransporterError("FILE_UNREADABLE", `${source}: redirects to ${next.protocol} which is not followed`);
      url = next;
      continue;
    }
    if (!response.ok || response.body === null) throw new TransporterError("FILE_UNREADABLE", `${source}: HTTP ${response.status}`);
    return response.body;
  }
  throw new TransporterError("FILE_UNREADABLE", `${source}: more than ${MAX_REDIRECTS} redirects`);
}
