interface Entry {
  readonly event_id: string;
  readonly state: string;
  readonly phase: string;
  readonly timestamp: string;
  readonly message: string;
}

/** How an event ended: when that was told (`performance.now()`), and how long each phase was by the agent's clock. */
export interface EventEnd {
  readonly atMs: number;
  readonly phasesMs: ReadonlyMap<string, number>;
}

interface Followed {
  readonly end: (entry: Entry) => void;
  /** When each phase began. */
  readonly began: Map<string, number>;
}

/** Follows all events of a control plane over its live stream, as `send --wait` follows one. */
export class StatusStream implements AsyncDisposable {
  readonly #abort = new AbortController();
  readonly #followed = new Map<string, Followed>();
  #reading: Promise<void> = Promise.resolve();

  static async open(url: string): Promise<StatusStream> {
    const stream = new StatusStream();
    const answer = await fetch(`${url}/v1/stream`, { signal: stream.#abort.signal });
    if (answer.body === null || !answer.ok) throw new Error(`the live stream answered ${answer.status}`);
    stream.#reading = stream.#read(answer.body);
    return stream;
  }

  /** Resolves when the event's end is told; rejects unless it completed. */
  end(eventId: string, timeoutMs = 600_000): Promise<EventEnd> {
    const told = Promise.withResolvers<EventEnd>();
    const timer = setTimeout(() => told.reject(new Error(`event ${eventId} did not end within ${timeoutMs} ms`)), timeoutMs);
    const began = new Map<string, number>();
    const end = ({ state, message }: Entry): void => {
      clearTimeout(timer);
      if (state === "completed") told.resolve({ atMs: performance.now(), phasesMs: lengths(began) });
      else told.reject(new Error(`event ${eventId} ended as ${state}: ${message}`));
    };
    this.#followed.set(eventId, { end, began });
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
    const followed = this.#followed.get(entry.event_id);
    if (followed === undefined) return;
    if (entry.phase !== "" && !followed.began.has(entry.phase)) followed.began.set(entry.phase, Date.parse(entry.timestamp));
    if (!["completed", "failed", "expired", "cancelled"].includes(entry.state)) return;
    this.#followed.delete(entry.event_id);
    followed.end(entry);
  }
}

function lengths(began: ReadonlyMap<string, number>): Map<string, number> {
  const phases = [...began];
  return new Map(phases.slice(0, -1).map(([phase, atMs], at) => [phase, (phases[at + 1]?.[1] ?? atMs) - atMs]));
}
