import { TransporterError, workerHref } from "../kit/mod.ts";
import { type Checked, jsonProblem, LIMITS, refuse } from "../protocol/mod.ts";
import { type IdRule, OWN_ID, type PreparedEvent, prepareEvent } from "./prepare.ts";

/** A request body: text where it is small, else its bytes as they came, in order. The bytes belong to whoever is handed them. */
export type Body = string | Uint8Array | readonly Uint8Array[];

/** Above this a body is parsed off the main loop. What it brings lies apart from there on, so nothing heavy is left for the loop. */
export const OFF_LOOP_BYTES: number = LIMITS.payloadApartBytes;

export interface WorkerJob {
  readonly id: number;
  readonly chunks: readonly Uint8Array[];
  readonly rule: IdRule;
}
export interface WorkerAnswer {
  readonly id: number;
  readonly prepared: Checked<PreparedEvent>;
}

interface Waiting {
  readonly resolve: (value: Checked<PreparedEvent>) => void;
  readonly reject: (error: Error) => void;
}

function prepareHere(text: string, rule: IdRule): Checked<PreparedEvent> {
  const problem = jsonProblem(text, LIMITS.eventJson);
  return problem === undefined ? prepareEvent(text, rule) : refuse("INVALID_JSON", problem);
}

/** Turns request bodies into prepared events; large ones in a worker, one after the other, which is started when first needed. */
export class BodyParser {
  #worker: Worker | undefined;
  #nextId = 0;
  readonly #waiting = new Map<number, Waiting>();
  readonly #decoder = new TextDecoder();

  /** Answers at once for a small body: a promise each would cost more than what is done. */
  prepare(body: Body, rule: IdRule = OWN_ID): Checked<PreparedEvent> | Promise<Checked<PreparedEvent>> {
    if (typeof body === "string") return prepareHere(body, rule);
    const chunks = body instanceof Uint8Array ? [body] : body;
    let bytes = 0;
    for (const chunk of chunks) bytes += chunk.byteLength;
    if (bytes <= OFF_LOOP_BYTES) {
      const [only] = chunks;
      return prepareHere(this.#decoder.decode(chunks.length === 1 ? only : Buffer.concat(chunks, bytes)), rule);
    }
    return this.#later(chunks, rule);
  }

  #later(chunks: readonly Uint8Array[], rule: IdRule): Promise<Checked<PreparedEvent>> {
    this.#worker ??= this.#start();
    const id = this.#nextId;
    this.#nextId += 1;
    const worker = this.#worker;
    return new Promise<Checked<PreparedEvent>>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      // Handed over, not copied: a copy of 32 MiB stops everybody's frames for as long as parsing a small event takes a hundred times.
      const own = chunks.map((chunk) => (chunk.byteLength === chunk.buffer.byteLength ? chunk : chunk.slice()));
      worker.ref();
      const job: WorkerJob = { id, chunks: own, rule };
      worker.postMessage(
        job,
        own.map((chunk) => chunk.buffer as ArrayBuffer),
      );
    });
  }

  stop(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#failAll("the control plane is stopping");
  }

  #start(): Worker {
    const worker = new Worker(workerHref("cp/intake.worker.ts"));
    worker.addEventListener("message", (message: MessageEvent<WorkerAnswer>) => {
      const waiting = this.#waiting.get(message.data.id);
      this.#waiting.delete(message.data.id);
      waiting?.resolve(message.data.prepared);
      if (this.#waiting.size === 0) worker.unref();
    });
    worker.addEventListener("error", (event) => {
      if (this.#worker === worker) this.#worker = undefined;
      worker.terminate();
      this.#failAll(event.message);
    });
    return worker;
  }

  #failAll(why: string): void {
    for (const waiting of this.#waiting.values())
      waiting.reject(new TransporterError("INTERNAL", "the body could not be parsed", { cause: new Error(why) }));
    this.#waiting.clear();
  }
}
