interface Entry {
  readonly event_id: string;
  readonly state: string;
  readonly message: string;
}

/** Follows all events of a control plane over its live stream, as `send --wait` follows one. */
export class StatusStream implements AsyncDisposable {
  readonly #abort = new AbortController();
  readonly #ended = new Map<string, (entry: Entry) => void>();
  #reading: Promise<void> = Promise.resolve();

  static async open(url: string): Promise<StatusStream> {
    const stream = new StatusStream();
    const answer = await fetch(`${url}/v1/stream`, { signal: stream.#abort.signal });
    if (answer.body === null || !answer.ok) throw new Error(`the live stream answered ${answer.status}`);
    stream.#reading = stream.#read(answer.body);
    return stream;
  }

  /** Resolves with the moment (`performance.now()`) at which the event's end was told; rejects unless it completed. */
  end(eventId: string, timeoutMs = 120_000): Promise<number> {
    const told = Promise.withResolvers<number>();
    const timer = setTimeout(() => told.reject(new Error(`event ${eventId} did not end within ${timeoutMs} ms`)), timeoutMs);
    this.#ended.set(eventId, ({ state, message }) => {
      clearTimeout(timer);
      if (state === "completed") told.resolve(performance.now());
      else told.reject(new Error(`event ${eventId} ended as ${state}: ${message}`));
    });
    return told.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#reading;
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    try {
      for await (const chunk of body) {
        text += decoder.decode(chunk, { stream: true });
        const frames = text.split("\n\n");
        text = frames.pop() ?? "";
        for (const frame of frames) this.#take(frame);
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    }
  }

  #take(frame: string): void {
    const data = /^data: (.*)$/m.exec(frame)?.[1];
    if (data === undefined) return;
    const entry = JSON.parse(data) as Entry;
    if (!["completed", "failed", "expired", "cancelled"].includes(entry.state)) return;
    this.#ended.get(entry.event_id)?.(entry);
    this.#ended.delete(entry.event_id);
  }
}
