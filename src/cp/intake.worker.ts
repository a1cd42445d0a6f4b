import { type Checked, JsonBounds, LIMITS, refuse } from "../protocol/mod.ts";
import type { WorkerAnswer, WorkerJob } from "./body-parser.ts";
import { type PreparedEvent, prepareEvent } from "./prepare.ts";

// Bodies over the threshold of `body-parser.ts` are decoded, hashed and compressed here: 32 MiB of JSON would stop everybody's frames for
// the better part of a second.
declare const self: Worker;

/** Counted before it is put together: what is refused for what it would become takes no more memory than it came with. */
function prepared(chunks: WorkerJob["chunks"], rule: WorkerJob["rule"]): Checked<PreparedEvent> {
  const bounds = new JsonBounds(LIMITS.eventJson);
  for (const chunk of chunks) {
    const problem = bounds.add(chunk);
    if (problem !== undefined) return refuse("INVALID_JSON", problem);
  }
  const decoder = new TextDecoder();
  let text = "";
  for (const chunk of chunks) text += decoder.decode(chunk, { stream: true });
  return prepareEvent(text + decoder.decode(), rule);
}

self.addEventListener("message", (message: MessageEvent<WorkerJob>) => {
  const { id, chunks, rule } = message.data;
  const answer: WorkerAnswer = { id, prepared: prepared(chunks, rule) };
  const encoded = answer.prepared.ok ? answer.prepared.value.encoded?.encoded : undefined;
  const whole = encoded !== undefined && encoded.byteLength === encoded.buffer.byteLength;
  self.postMessage(answer, whole ? [encoded.buffer as ArrayBuffer] : []);
});
