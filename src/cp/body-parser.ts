import { TransporterError, workerHref } from "../kit/mod.ts";
import type { Checked } from "../protocol/mod.ts";
import { type PreparedEvent, prepareEvent } from "./prepare.ts";

/** Above this a body is parsed off the main loop. */
const OFF_LOOP_BYTES = 256 * 1024;

interface WorkerAnswer {
  readonly id: number;
  readonly prepared: Checked<PreparedEvent>;
}

/** Turns request bodies into prepared events; large ones in a worker, one after the other, which is started when first needed. */
export class BodyParser {
  #worker: Worker | undefined;
  #nextId = 0;
  readonly #waiting = new Map<number, { resolve: (value: Checked<PreparedEvent>) => void; reject: (error: Error) => void }>();

  async prepare(bytes: Uint8Array): Promise<Checked<PreparedEvent>> {
    if (bytes.byteLength <= OFF_LOOP_BYTES) return prepareEvent(new TextDecoder().decode(bytes));
    this.#worker ??= this.#start();
    const id = this.#nextId;
    this.#nextId += 1;
    const worker = this.#worker;
    return new Promise<Checked<PreparedEvent>>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      const own = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
      worker.postMessage({ id, bytes: own }, [own.buffer as ArrayBuffer]);
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
    worker.unref();
    return worker;
  }

  #failAll(why: string): void {
    for (const waiting of this.#waiting.values())
      waiting.reject(new TransporterError("INTERNAL", "the body could not be parsed", { cause: new Error(why) }));
    this.#waiting.clear();
  }
}
