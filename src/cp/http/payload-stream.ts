import { once } from "node:events";
import { createZstdDecompress } from "node:zlib";
import { messageOf, TransporterError } from "../../kit/mod.ts";
import type { PayloadRef } from "../../protocol/mod.ts";
import type { PayloadSource, Store } from "../../stores/mod.ts";

/**
 * The JSON text of an object with its payload as a further member. The payload is pasted in as it lies in the store: parsing 32 MiB to write
 * it again would hold up everybody's frames. One that lies apart is decoded by another thread as fast as the reader takes it, a piece at a
 * time. Throws PAYLOAD_LOST where it is not there any more.
 */
export async function withPayload(
  objectJson: string,
  payload: PayloadSource,
  store: Pick<Store, "payloadPiece">,
): Promise<string | ReadableStream<Uint8Array>> {
  const head = `${objectJson.slice(0, -1)},"payload":`;
  if ("text" in payload) return `${head}${payload.text}}`;
  const ref = payload.apart;
  const first = await store.payloadPiece(ref.digest, 0);
  if (first === undefined) throw lost(ref);
  const chunks = decoded(ref, first, store);
  let begun = false;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (!begun) {
        begun = true;
        controller.enqueue(Buffer.from(head));
        return;
      }
      const { done, value } = await chunks.next();
      if (!done) {
        controller.enqueue(value);
        return;
      }
      controller.enqueue(Buffer.from("}"));
      controller.close();
    },
    async cancel() {
      await chunks.return(undefined);
    },
  });
}

function lost(ref: PayloadRef): TransporterError {
  return new TransporterError("PAYLOAD_LOST", `the payload ${ref.digest} is not there any more`);
}

/** Throws in the middle where a piece is missing or the text is longer than it should be: the reader's connection is cut, and it knows. */
async function* decoded(ref: PayloadRef, first: Uint8Array, store: Pick<Store, "payloadPiece">): AsyncGenerator<Uint8Array, void> {
  const decoder = createZstdDecompress();
  let fault: Error | undefined;
  let ended = false;
  const feed = async (): Promise<void> => {
    let piece: Uint8Array | undefined = first;
    for (let offset = 0; offset < ref.encoded_bytes; piece = undefined) {
      piece ??= await store.payloadPiece(ref.digest, offset);
      if (piece === undefined || piece.byteLength === 0) throw lost(ref);
      offset += piece.byteLength;
      if (ended) return;
      if (!decoder.write(piece)) await once(decoder, "drain");
    }
    decoder.end();
  };
  const feeding = feed().catch((error: unknown) => {
    fault = error instanceof Error ? error : new Error(messageOf(error));
    decoder.destroy();
  });
  let bytes = 0;
  try {
    for await (const chunk of decoder as AsyncIterable<Uint8Array>) {
      bytes += chunk.byteLength;
      if (bytes > ref.bytes) throw lost(ref);
      yield chunk;
    }
    if (fault !== undefined) throw fault;
    if (bytes !== ref.bytes) throw lost(ref);
  } catch (error) {
    throw fault ?? error;
  } finally {
    ended = true;
    decoder.destroy();
    // Whoever waits for room in the decoder is let go.
    decoder.emit("drain");
    await feeding;
  }
}
