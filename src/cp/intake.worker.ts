import type { WorkerAnswer, WorkerJob } from "./body-parser.ts";
import { prepareEvent } from "./prepare.ts";

// Bodies over the threshold of `body-parser.ts` are decoded, hashed and compressed here: 32 MiB of JSON would stop everybody's frames for
// the better part of a second.
declare const self: Worker;

self.addEventListener("message", (message: MessageEvent<WorkerJob>) => {
  const { id, chunks, rule } = message.data;
  const decoder = new TextDecoder();
  let text = "";
  for (const chunk of chunks) text += decoder.decode(chunk, { stream: true });
  const answer: WorkerAnswer = { id, prepared: prepareEvent(text + decoder.decode(), rule) };
  const encoded = answer.prepared.ok ? answer.prepared.value.encoded?.encoded : undefined;
  const whole = encoded !== undefined && encoded.byteLength === encoded.buffer.byteLength;
  self.postMessage(answer, whole ? [encoded.buffer as ArrayBuffer] : []);
});
