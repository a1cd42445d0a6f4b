import type { Ports } from "../../kit/mod.ts";
import type { KubeAnswer, KubeRequest } from "./transport.ts";

/** So long after it was seen ready, an API server's word is taken without another look. */
const TRUSTED_MS = 1_000;
/** A starting API server is ready within seconds; one that never says so is believed after this. */
const PATIENCE_MS = 15_000;

/**
 * Tells a true refusal from that of an API server that is starting: until its caches are filled it denies whatever roles allow, with the
 * same 403. Only `/readyz` knows.
 */
export class Readyz {
  readonly #attempt: (request: KubeRequest) => Promise<KubeAnswer>;
  readonly #ports: Ports;
  #readyAtMs = Number.NEGATIVE_INFINITY;
  #silent = false;
  #asking: Promise<void> | undefined;

  constructor(attempt: (request: KubeRequest) => Promise<KubeAnswer>, ports: Ports) {
    this.#attempt = attempt;
    this.#ports = ports;
  }

  /** A connection broke: whoever answers next may be another process. */
  doubt(): void {
    this.#readyAtMs = Number.NEGATIVE_INFINITY;
  }

  /** True when the answer to a request sent at `sentAtMs` (monotonic) may be the word of a server that was not ready. */
  isDoubtful(answer: KubeAnswer, sentAtMs: number): boolean {
    if (answer.status !== 403 || this.#silent || !/cannot [a-z:-]+ |not yet ready to handle/i.test(answer.text)) return false;
    return sentAtMs < this.#readyAtMs || sentAtMs - this.#readyAtMs > TRUSTED_MS;
  }

  /** Resolves when the server says that it is ready, or after a time in which it never did; many who ask share one asking. */
  async wait(signal: AbortSignal | undefined): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    await this.#asking;
    signal?.throwIfAborted();
  }

  async #ask(): Promise<void> {
    const { clock, timers } = this.#ports;
    const startedAt = clock.monotonic();
    let forbidden = true;
    for (let waitMs = 50; clock.monotonic() - startedAt < PATIENCE_MS; waitMs = Math.min(1_000, waitMs * 2)) {
      try {
        const { status } = await this.#attempt({ method: "GET", path: "/readyz", timeoutMs: 5_000 });
        if (status === 200) {
          this.#readyAtMs = clock.monotonic();
          return;
        }
        forbidden &&= status === 403 || status === 404;
      } catch {
        // Not there at the moment, which the request itself will find out: here it only means "not ready".
        forbidden = false;
      }
      await timers.sleep(waitMs);
    }
    // An account that may not ask, or a proxy in between that does not pass it on: do not wait for it again.
    this.#silent = forbidden;
  }
}
