import { TransporterError } from "../kit/mod.ts";
import type { DocumentWrite } from "./documents.ts";

export const DOCUMENT_MAX_BYTES: number = 64 * 1024;
export const DOCUMENT_ID_MAX_CHARACTERS = 300;

/**
 * For drivers, before anything is asked of the store: what is too large for one of them is so for all. INVALID_REQUEST, because what is in
 * a document was asked for by somebody.
 */
export function checkDocument({ kind, id, value }: DocumentWrite): void {
  if (id === "" || id.length > DOCUMENT_ID_MAX_CHARACTERS)
    throw new TransporterError(
      "INVALID_REQUEST",
      `the id of a ${kind} must have 1 to ${DOCUMENT_ID_MAX_CHARACTERS} characters, not ${id.length}`,
    );
  const bytes = Buffer.byteLength(value);
  if (bytes > DOCUMENT_MAX_BYTES)
    throw new TransporterError(
      "INVALID_REQUEST",
      `what is to be kept of the ${kind} has ${bytes} bytes; at most ${DOCUMENT_MAX_BYTES} are kept`,
    );
}
