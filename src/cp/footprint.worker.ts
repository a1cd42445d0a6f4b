import { type FootprintAnswer, parseFootprint } from "./footprints.ts";

// Large payloads are parsed here, because seconds of YAML on the main loop would stop everybody's frames.
declare const self: Worker;

self.addEventListener("message", ({ data }: MessageEvent<{ readonly id: number; readonly text: string }>) => {
  self.postMessage({ id: data.id, footprint: parseFootprint(data.text) } satisfies FootprintAnswer);
});
