import type { LogEntry } from "../protocol/mod.ts";

/**
 * Tells live streams that the store has something new. Only a bell: it carries nothing, a listener reads the store from where it stands,
 * so a slow one costs no memory and a missed ring loses nothing as long as the next one comes or it looks again.
 */
export class Bell {
  readonly #ofEvent = new Map<string, Set<() => void>>();
  readonly #ofAll = new Set<() => void>();
  #count = 0;
  #onFollowed: (followed: boolean) => void = () => undefined;

  /** Whom to tell when the first listener comes and when the last one has gone. */
  onFollowed(tell: (followed: boolean) => void): void {
    this.#onFollowed = tell;
  }

  ring(entry: LogEntry | undefined): void {
    if (entry !== undefined) this.ringFor(entry.event_id);
  }

  /** The log of this event has grown. */
  ringFor(eventId: string): void {
    const listeners = this.#ofEvent.get(eventId);
    if (listeners !== undefined) for (const listener of listeners) listener();
    for (const listener of this.#ofAll) listener();
  }

  /** Calls `listener` for entries of one event, or of all when `eventId` is undefined; answers how to stop that. */
  listen(eventId: string | undefined, listener: () => void): () => void {
    const listeners = eventId === undefined ? this.#ofAll : (this.#ofEvent.get(eventId) ?? new Set());
    if (eventId !== undefined) this.#ofEvent.set(eventId, listeners);
    listeners.add(listener);
    this.#count += 1;
    if (this.#count === 1) this.#onFollowed(true);
    return () => {
      if (!listeners.delete(listener)) return;
      if (eventId !== undefined && listeners.size === 0) this.#ofEvent.delete(eventId);
      this.#count -= 1;
      if (this.#count === 0) this.#onFollowed(false);
    };
  }

  /** Wakes everybody, whether there is something new or not. */
  ringAll(): void {
    for (const listeners of [...this.#ofEvent.values(), this.#ofAll]) for (const listener of listeners) listener();
  }

  get listeners(): number {
    return this.#count;
  }
}
