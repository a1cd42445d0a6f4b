import { TransporterError } from "../../kit/mod.ts";
import { formatDurationMs } from "../../protocol/mod.ts";
import type { Body } from "../body-parser.ts";

/** A whole body must have come within this time; a trickle would otherwise hold its memory for ever. */
const BODY_TIMEOUT_MS = 120_000;

/** Up to this a body of known length is not worth counting; connections bound how many there are. */
const SMALL_BYTES = 64 * 1024;

/** Bounds what all bodies may take together, from their first byte until what they brought is stored: those that wait to be parsed too. */
export class BodyBudget {
  readonly #limitBytes: number;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Takes `bytes` from the budget or throws TOO_MANY_REQUESTS. */
  take(bytes: number): void {
    if (this.#usedBytes > 0 && this.#usedBytes + bytes > this.#limitBytes)
      throw new TransporterError("TOO_MANY_REQUESTS", "too many large bodies are being taken in at once");
    this.#usedBytes += bytes;
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}

function tooLarge(maxBytes: number): TransporterError {
  return new TransporterError("BODY_TOO_LARGE", `the body is larger than ${maxBytes} bytes`, { details: { max_bytes: maxBytes } });
}

function tooManyPieces(): TransporterError {
  return new TransporterError("BODY_TOO_LARGE", "the body comes in too many small pieces", {
    details: { hang_up: true },
    remedy: `Send it with a Content-Length, or in pieces of ${SMALLEST_MEAN_BYTES} bytes and more.`,
  });
}

/** Whoever sends hung up, or said more than came. That is no fault of ours to be logged as one. */
function brokenOff(thrown: unknown): never {
  throw thrown instanceof TransporterError
    ? thrown
    : new TransporterError("INVALID_JSON", "the connection ended before the body did", { cause: thrown });
}

/**
 * Reads a body of at most `maxBytes` and hands it on; it counts against the budget until `use` is done with it. A longer one is refused as
 * soon as that is known, by its announced length or while it comes. A large one is handed on as the chunks it came in: putting 32 MiB
 * together would hold up everybody's frames.
 */
export function withBody<T>(request: Request, maxBytes: number, budget: BodyBudget, use: (body: Body) => Promise<T>): Promise<T> {
  const announced = Number(request.headers.get("content-length") ?? Number.NaN);
  // Small ones pass whatever the large ones take: eight uploads must not turn everybody away.
  if (announced <= Math.min(SMALL_BYTES, maxBytes)) return request.text().then(use, brokenOff);
  return withLargeBody(request, Number.isNaN(announced) ? undefined : announced, maxBytes, budget, use);
}

async function withLargeBody<T>(
  request: Request,
  announcedBytes: number | undefined,
  maxBytes: number,
  budget: BodyBudget,
  use: (body: Body) => Promise<T>,
): Promise<T> {
  let takenBytes = 0;
  const take = (bytes: number): void => {
    budget.take(bytes);
    takenBytes += bytes;
  };
  try {
    if (announcedBytes !== undefined) {
      if (announcedBytes > maxBytes) throw tooLarge(maxBytes);
      take(announcedBytes);
    }
    return await use(await readChunks(request, maxBytes, announcedBytes === undefined ? take : () => undefined));
  } finally {
    budget.give(takenBytes);
  }
}

/** Pieces smaller than this are put together: each would cost many times what it holds, and whoever sends them may send millions. */
const SMALL_PIECE_BYTES = 4 * 1024;
/** So many pieces of any size may come; beyond, a body whose pieces are smaller than `SMALLEST_MEAN_BYTES` in the mean is refused. */
const FREE_PIECES = 4_096;
/** Every piece costs a turn of the loop that serves everybody: 32 MiB in pieces of one byte would take all of it for ten seconds. */
const SMALLEST_MEAN_BYTES = 256;
/** What they are put together into. */
const GATHER_BYTES = 64 * 1024;

/** A body's pieces in their order, small ones gathered. */
class Pieces {
  readonly whole: Uint8Array[] = [];
  #gathered: Uint8Array | undefined;
  #used = 0;

  add(piece: Uint8Array): void {
    if (piece.byteLength >= SMALL_PIECE_BYTES) {
      this.#flush();
      this.whole.push(piece);
      return;
    }
    if (this.#gathered !== undefined && this.#used + piece.byteLength > GATHER_BYTES) this.#flush();
    this.#gathered ??= new Uint8Array(GATHER_BYTES);
    this.#gathered.set(piece, this.#used);
    this.#used += piece.byteLength;
  }

  end(): Uint8Array[] {
    this.#flush();
    return this.whole;
  }

  #flush(): void {
    if (this.#gathered !== undefined) this.whole.push(this.#gathered.slice(0, this.#used));
    this.#gathered = undefined;
    this.#used = 0;
  }
}

async function readChunks(request: Request, maxBytes: number, take: (bytes: number) => void): Promise<Uint8Array[]> {
  if (request.body === null) return [];
  const pieces = new Pieces();
  let total = 0;
  let count = 0;
  const reader = request.body.getReader();
  const signal = AbortSignal.timeout(BODY_TIMEOUT_MS);
  // Ends the reading that is waited for. A race against a promise that hardly ever settles would remember every piece until it does.
  const cut = (): void => void reader.cancel().catch(() => undefined);
  signal.addEventListener("abort", cut, { once: true });
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted) throw new TransporterError("INVALID_JSON", `the body did not end within ${formatDurationMs(BODY_TIMEOUT_MS)}`);
      if (done || value === undefined) return pieces.end();
      if (total + value.byteLength > maxBytes) throw tooLarge(maxBytes);
      take(value.byteLength);
      total += value.byteLength;
      count += 1;
      if (count > FREE_PIECES && total < count * SMALLEST_MEAN_BYTES) throw tooManyPieces();
      pieces.add(value);
    }
  } catch (error) {
    return brokenOff(error);
  } finally {
    signal.removeEventListener("abort", cut);
    cut();
  }
}
