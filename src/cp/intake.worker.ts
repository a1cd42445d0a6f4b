import { prepareEvent } from "./prepare.ts";

// Bodies over the threshold of `body-parser.ts` are decoded here: 32 MiB of JSON would stop everybody's frames for a tenth of a second.
declare const self: Worker;

self.addEventListener("message", (message: MessageEvent<{ readonly id: number; readonly bytes: Uint8Array }>) => {
  const { id, bytes } = message.data;
  self.postMessage({ id, prepared: prepareEvent(new TextDecoder().decode(bytes)) });
});
