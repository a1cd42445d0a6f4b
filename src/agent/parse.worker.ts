import { messageOf, toTransporterError } from "../kit/mod.ts";
import { type ParsedObject, parseManifests, stringifyObject } from "../manifests/mod.ts";
import { decodeFrame } from "./delivery.ts";
import type { ManifestSource } from "./ledger.ts";
import type { ParseAnswer, ParseTask } from "./off-loop.ts";
import { manifestsOf, verdictOf } from "./payload.ts";

// Large frames and manifests are parsed here, because seconds of YAML on the main loop would cost the agent its heartbeats.
declare const self: Worker;

/** Objects go back in portions of about this much JSON: taking one over blocks the main loop for a few milliseconds at most. */
const PORTION_CHARS = 256 * 1024;

function answer(message: ParseAnswer): void {
  self.postMessage(message);
}

function parseAll(id: number, source: ManifestSource): void {
  let portion: ParsedObject[] = [];
  let chars = 0;
  for (const parsed of parseManifests(manifestsOf(source))) {
    portion.push(parsed);
    chars += stringifyObject(parsed.object).length;
    if (chars < PORTION_CHARS) continue;
    answer({ id, kind: "objects", objects: portion });
    portion = [];
    chars = 0;
  }
  answer({ id, kind: "objects", objects: portion });
  answer({ id, kind: "done" });
}

self.addEventListener("message", (message: MessageEvent<ParseTask>) => {
  const task = message.data;
  try {
    if (task.kind === "frame") answer({ id: task.id, kind: "decoded", decoded: decodeFrame(task.text) });
    else if (task.kind === "payload") answer({ id: task.id, kind: "verdict", verdict: verdictOf(task.encoded) });
    else parseAll(task.id, task.source);
  } catch (thrown) {
    const error = toTransporterError(thrown);
    const { code, message: words, details, remedy } = error;
    answer({
      id: task.id,
      kind: "failed",
      code,
      message: words,
      details,
      remedy,
      cause: error.cause === undefined ? "" : messageOf(error.cause),
    });
  }
});
