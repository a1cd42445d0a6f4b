import { TransporterError } from "../kit/mod.ts";

const VERSION = 1;

/** Makes a cursor out of the key of the last item of a page. `kind` keeps a cursor of one listing out of another. */
export function encodeCursor(kind: string, key: string | number): string {
  return Buffer.from(JSON.stringify({ v: VERSION, k: kind, at: key })).toString("base64url");
}

/** Reads the key of a cursor for an ascending or descending number; INVALID_CURSOR when it is not one of ours. */
export function numberCursor(kind: string, cursor: string | undefined): number | undefined {
  const key = decode(kind, cursor);
  if (key === undefined) return undefined;
  if (typeof key !== "number" || !Number.isSafeInteger(key) || key < 0) throw invalid();
  return key;
}

/** Reads the key of a cursor for a text; INVALID_CURSOR when it is not one of ours. */
export function textCursor(kind: string, cursor: string | undefined): string | undefined {
  const key = decode(kind, cursor);
  if (key === undefined) return undefined;
  if (typeof key !== "string") throw invalid();
  return key;
}

function decode(kind: string, cursor: string | undefined): unknown {
  if (cursor === undefined) return undefined;
  if (cursor.length > 2048 || !/^[\w-]+$/.test(cursor)) throw invalid();
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(cursor, "base64url").toString());
  } catch (error) {
    throw invalid(error);
  }
  if (typeof value !== "object" || value === null || !("v" in value) || !("k" in value) || !("at" in value)) throw invalid();
  if (value.v !== VERSION || value.k !== kind || value.at === undefined) throw invalid();
  return value.at;
}

function invalid(cause?: unknown): TransporterError {
  return new TransporterError("INVALID_CURSOR", "the cursor does not belong to this listing", { cause });
}
