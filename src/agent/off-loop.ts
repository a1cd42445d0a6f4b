import type { ErrorCode } from "../protocol/mod.ts";
import { type TimerHandle, type Timers, TransporterError, workerHref } from "../kit/mod.ts";
import { type ParsedObject, parseManifests } from "../manifests/mod.ts";
import { type Decoded, decodeFrame } from "./delivery.ts";

export type ParseTask =
  | { readonly id: number; readonly kind: "frame"; readonly text: string }
  | { readonly id: number; readonly kind: "manifests"; readonly text: string };

/** What the worker says; an error crosses as its parts. */
export type ParseAnswer =
  | { readonly id: number; readonly kind: "decoded"; readonly decoded: Decoded }
  | { readonly id: number; readonly kind: "objects"; readonly objects: readonly ParsedObject[] }
  | { readonly id: number; readonly kind: "done" }
  | {
      readonly id: number;
      readonly kind: "failed";
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
      readonly remedy: string;
      readonly cause: string;
    };

/** Turns texts into what they say; the port through which the agent parses. */
export interface Parsing {
  frame(text: string): Decoded | Promise<Decoded>;
  /** Takes the JSON of the array of manifests. Throws what `parseManifests` throws. */
  manifests(json: string): Promise<ParsedObject[]>;
  stop(): void;
}

/** Above this many characters a text is parsed off the main loop. */
export const OFF_LOOP_CHARS = 256 * 1024;
/** A worker without work is ended, so that its memory goes back. */
const IDLE_MS = 5_000;
/** No text within the limits takes this long; whatever does is given up with its worker. */
const TASK_TIMEOUT_MS = 120_000;

interface Waiting {
  readonly objects: ParsedObject[];
  readonly settle: (answer: ParseAnswer) => void;
  readonly fail: (error: TransporterError) => void;
}

/** One worker that is started when first needed; texts are parsed in the order they come. */
class Lane {
  readonly #timers: Timers;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #timer: TimerHandle | undefined;
  #nextId = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  run<T>(kind: ParseTask["kind"], text: string, read: (answer: ParseAnswer, objects: ParsedObject[]) => T): Promise<T> {
    const worker = (this.#worker ??= this.#start());
    this.#nextId += 1;
    const id = this.#nextId;
    return new Promise<T>((resolve, reject) => {
      const objects: ParsedObject[] = [];
      this.#waiting.set(id, { objects, settle: (answer) => resolve(read(answer, objects)), fail: reject });
      this.#arm(TASK_TIMEOUT_MS, () => this.#end("parsing took too long"));
      worker.postMessage({ id, kind, text } satisfies ParseTask);
    });
  }

  stop(): void {
    this.#end("the agent is stopping");
  }

  #start(): Worker {
    const worker = new Worker(workerHref("agent/parse.worker.ts"));
    worker.addEventListener("message", (message: MessageEvent<ParseAnswer>) => {
      if (this.#worker === worker) this.#answered(message.data);
    });
    worker.addEventListener("error", (event) => {
      if (this.#worker === worker) this.#end(event.message);
    });
    return worker;
  }

  #answered(answer: ParseAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    if (answer.kind === "objects") {
      for (const object of answer.objects) waiting.objects.push(object);
      return;
    }
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) this.#arm(IDLE_MS, () => this.#end("idle"));
    else this.#arm(TASK_TIMEOUT_MS, () => this.#end("parsing took too long"));
    if (answer.kind === "failed") {
      const { code, message, details, remedy, cause } = answer;
      waiting.fail(new TransporterError(code, message, { details, remedy, ...(cause === "" ? {} : { cause }) }));
    } else {
      waiting.settle(answer);
    }
  }

  #arm(ms: number, run: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#timers.after(ms, run, { background: true });
  }

  #end(why: string): void {
    this.#timer?.cancel();
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const waiting of this.#waiting.values()) {
      waiting.fail(new TransporterError("INTERNAL", `a text could not be parsed: ${why}`));
    }
    this.#waiting.clear();
  }
}

/** Small texts here and now; large ones in workers, frames and manifests each in one of their own, so that no frame waits behind YAML. */
export function createParsing(timers: Timers): Parsing {
  const frames = new Lane(timers);
  const manifests = new Lane(timers);
  return {
    frame(text) {
      if (text.length <= OFF_LOOP_CHARS) return decodeFrame(text);
      return frames.run("frame", text, (answer) =>
        answer.kind === "decoded" ? answer.decoded : { kind: "garbled", why: "the worker gave no answer" },
      );
    },
    async manifests(json) {
      if (json.length <= OFF_LOOP_CHARS) return parseManifests(JSON.parse(json) as string[]);
      return manifests.run("manifests", json, (_answer, objects) => objects);
    },
    stop() {
      frames.stop();
      manifests.stop();
    },
  };
}
