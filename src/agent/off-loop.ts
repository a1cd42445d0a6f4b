import type { ErrorCode } from "../protocol/mod.ts";
import { type TimerHandle, type Timers, TransporterError, workerHref } from "../kit/mod.ts";
import { parseEverydayManifests, type ParsedObject, parseManifests } from "../manifests/mod.ts";
import { type Decoded, decodeFrame } from "./delivery.ts";
import type { EncodedPayload, ManifestSource } from "./ledger.ts";
import { manifestsOf, type PayloadVerdict, verdictOf } from "./payload.ts";

type Task =
  | { readonly kind: "frame"; readonly text: string }
  | { readonly kind: "manifests"; readonly source: ManifestSource }
  | { readonly kind: "payload"; readonly encoded: EncodedPayload };
export type ParseTask = Task & { readonly id: number };

/** What the worker says; an error crosses as its parts. */
export type ParseAnswer =
  | { readonly id: number; readonly kind: "decoded"; readonly decoded: Decoded }
  | { readonly id: number; readonly kind: "verdict"; readonly verdict: PayloadVerdict }
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
  /** Takes the JSON of the array of manifests, or a payload. Throws what `parseManifests` throws, and PAYLOAD_LOST for a payload that is damaged. */
  manifests(source: ManifestSource): Promise<ParsedObject[]>;
  /** Checks a payload that was fetched. Takes its pieces over: they are empty afterwards. */
  payload(encoded: EncodedPayload): Promise<PayloadVerdict>;
  stop(): void;
}

/** Above this many characters, of a payload encoded or not, a text is parsed off the main loop. */
export const OFF_LOOP_CHARS = 256 * 1024;
/** Up to this many, everyday YAML is parsed at once all the same: some 50 ms cost less than starting a worker. */
const QUICK_CHARS = 512 * 1024;
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

  run<T>(task: Task, read: (answer: ParseAnswer, objects: ParsedObject[]) => T): Promise<T> {
    const worker = (this.#worker ??= this.#start());
    this.#nextId += 1;
    const id = this.#nextId;
    return new Promise<T>((resolve, reject) => {
      const objects: ParsedObject[] = [];
      this.#waiting.set(id, { objects, settle: (answer) => resolve(read(answer, objects)), fail: reject });
      this.#arm(TASK_TIMEOUT_MS, () => this.#end("parsing took too long"));
      worker.postMessage({ id, ...task } satisfies ParseTask, buffersOf(task));
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

/** The pieces of a payload are handed over, not copied. */
function buffersOf(task: Task): ArrayBuffer[] {
  const encoded = task.kind === "payload" ? task.encoded : task.kind === "frame" ? undefined : task.source;
  return typeof encoded === "object" ? encoded.pieces.map((piece) => piece.buffer) : [];
}

/**
 * Small texts here and now; large ones in workers, frames and manifests each in one of their own, so that no frame waits behind YAML.
 * `offLoopChars` says what is large; a simulation, which has no threads, makes it infinite.
 */
export function createParsing(timers: Timers, offLoopChars: number = OFF_LOOP_CHARS): Parsing {
  const frames = new Lane(timers);
  const manifests = new Lane(timers);
  return {
    frame(text) {
      if (text.length <= offLoopChars) return decodeFrame(text);
      return frames.run({ kind: "frame", text }, (answer) =>
        answer.kind === "decoded" ? answer.decoded : { kind: "garbled", why: "the worker gave no answer" },
      );
    },
    async manifests(source) {
      if (source.length <= offLoopChars) return parseManifests(manifestsOf(source));
      const quick = typeof source === "string" && source.length <= QUICK_CHARS ? parseEverydayManifests(manifestsOf(source)) : undefined;
      if (quick !== undefined) return quick;
      return manifests.run({ kind: "manifests", source }, (_answer, objects) => objects);
    },
    async payload(encoded) {
      if (encoded.length <= offLoopChars) return verdictOf(encoded);
      return frames.run({ kind: "payload", encoded }, (answer) =>
        answer.kind === "verdict" ? answer.verdict : { kind: "damaged", why: "the worker gave no answer" },
      );
    },
    stop() {
      frames.stop();
      manifests.stop();
    },
  };
}
