import { readFile } from "node:fs/promises";
import { TransporterError, messageOf } from "../../kit/mod.ts";

/** How long a credential file is trusted without another look. The kubelet rotates long before a token ends; client-go looks each minute. */
const FRESH_MS = 10_000;

/** A small file that somebody else rotates. */
export class CachedFile {
  readonly #path: string;
  readonly #monotonic: () => number;
  #text: string | undefined;
  #readAt = 0;

  constructor(path: string, monotonic: () => number) {
    this.#path = path;
    this.#monotonic = monotonic;
  }

  /** The content, at most ten seconds old. Throws KUBE_CONFIG_INVALID when it was never readable; else the last content stays in use. */
  async read(): Promise<string> {
    if (this.#text !== undefined && this.#monotonic() - this.#readAt < FRESH_MS) return this.#text;
    try {
      this.#text = await readFile(this.#path, "utf8");
      this.#readAt = this.#monotonic();
    } catch (cause) {
      if (this.#text === undefined)
        throw new TransporterError("KUBE_CONFIG_INVALID", `credential file ${this.#path} cannot be read: ${messageOf(cause)}`, { cause });
    }
    return this.#text;
  }

  /** The next read goes to the disk. */
  forget(): void {
    this.#readAt = Number.NEGATIVE_INFINITY;
  }
}
