import { createHash } from "node:crypto";
import { zstdDecompressSync } from "node:zlib";
import { messageOf, TransporterError } from "../kit/mod.ts";
import { readPayload, type PayloadTraits } from "./delivery.ts";
import type { EncodedPayload, ManifestSource } from "./ledger.ts";

/** Larger ones than any text that can be held: whoever announces one is mistaken. */
export const MAX_PAYLOAD_BYTES = 512 * 1024 * 1024;

/** What became of a payload: `damaged` is not what was announced and may be right the next time; `refused` is right and cannot be used. */
export type PayloadVerdict =
  | { readonly kind: "whole"; readonly traits: PayloadTraits }
  | { readonly kind: "damaged"; readonly why: string }
  | { readonly kind: "refused"; readonly why: string };

export type OpenedPayload = Exclude<PayloadVerdict, { readonly kind: "whole" }> | (PayloadVerdict & { readonly texts: readonly string[] });

/**
 * Decodes a fetched payload and compares it with what was announced, by size and digest; never decodes more than was announced. Pure and
 * synchronous; large ones are opened in the worker. Never throws.
 */
export function openPayload({ ref, type, pieces }: EncodedPayload): OpenedPayload {
  let bytes: Buffer;
  try {
    // One byte more than announced, so that more is noticed and not cut off.
    bytes = zstdDecompressSync(Buffer.concat(pieces), { maxOutputLength: Math.min(ref.bytes, MAX_PAYLOAD_BYTES) + 1 });
  } catch (error) {
    return { kind: "damaged", why: `it cannot be decoded: ${messageOf(error)}` };
  }
  if (bytes.byteLength !== ref.bytes) return { kind: "damaged", why: `it has ${bytes.byteLength} bytes instead of ${ref.bytes}` };
  const digest = createHash("sha256").update(bytes).digest("hex");
  if (digest !== ref.digest) return { kind: "damaged", why: `its digest is ${digest} instead of ${ref.digest}` };
  const read = readPayload(bytes.toString("utf8"), type);
  if (!read.ok) return { kind: "refused", why: read.message };
  return { kind: "whole", traits: read.value.traits, texts: read.value.texts };
}

/** The manifests of a source. Throws PAYLOAD_LOST where it is a payload that is not what it was when it was fetched. */
export function manifestsOf(source: ManifestSource): readonly string[] {
  if (typeof source === "string") return JSON.parse(source) as string[];
  const opened = openPayload(source);
  if (opened.kind === "whole") return opened.texts;
  throw new TransporterError(opened.kind === "refused" ? "INVALID_EVENT" : "PAYLOAD_LOST", `the payload cannot be used: ${opened.why}`);
}

/** Without what only the worker needs. */
export function verdictOf(encoded: EncodedPayload): PayloadVerdict {
  const opened = openPayload(encoded);
  return opened.kind === "whole" ? { kind: "whole", traits: opened.traits } : opened;
}
