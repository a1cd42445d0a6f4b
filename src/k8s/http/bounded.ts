/** Far above what any object, page of a list or discovery document takes; an aggregated API or something in between could send without end. */
export const MAX_ANSWER_BYTES: number = 32 * 1024 * 1024;

/** A body as text, what was compressed counted as what it becomes. Throws RangeError beyond `maxBytes`. */
export async function boundedText(body: ReadableStream<Uint8Array> | null, maxBytes: number = MAX_ANSWER_BYTES): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  // Leaving the loop by a throw cancels the stream.
  for await (const chunk of body) {
    bytes += chunk.byteLength;
    if (bytes > maxBytes) throw tooLarge(maxBytes);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** `boundedText` of an answer. One that says how long it is, as small ones do, is read at once: piece by piece costs several times as much. */
export async function answerText(response: Response, maxBytes: number = MAX_ANSWER_BYTES): Promise<string> {
  const length = response.headers.get("content-length");
  // What is compressed says how long it is before it is unpacked.
  const known = length !== null && response.headers.get("content-encoding") === null && Number(length) <= maxBytes;
  return known ? response.text() : boundedText(response.body, maxBytes);
}

/** The lines of a stream, without their newlines and without empty ones. Throws RangeError for one of more than `maxBytes`. */
export async function* boundedLines(body: ReadableStream<Uint8Array>, maxBytes: number = MAX_ANSWER_BYTES): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  // Only what is new is looked through: a long line comes in many pieces.
  let rest: string[] = [];
  let chars = 0;
  for await (const chunk of body) {
    const parts = decoder.decode(chunk, { stream: true }).split("\n");
    const last = parts.pop() ?? "";
    for (const part of parts) {
      const line = rest.length === 0 ? part : rest.join("") + part;
      rest = [];
      chars = 0;
      if (line !== "") yield line;
    }
    rest.push(last);
    chars += last.length;
    if (chars > maxBytes) throw tooLarge(maxBytes);
  }
}

function tooLarge(maxBytes: number): RangeError {
  return new RangeError(`the answer is larger than ${maxBytes} bytes`);
}
