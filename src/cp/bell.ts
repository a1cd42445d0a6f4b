import type { LogEntry } from "../protocol/mod.ts";

/**
 * Tells live streams that the store has something new. Only a bell: it carries nothing, a listener reads the store from where it stands,
 * so a slow one costs no memory and a missed ring loses nothing as long as the next one comes or it looks again.
 */
export class Bell {
  readonly #ofEvent = new Map<string, Set<() => void>>();
  readonly #ofAll = new Set<() => void>();

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
    if (eventId === undefined) {
      this.#ofAll.add(listener);
      return () => this.#ofAll.delete(listener);
    }
    const listeners = this.#ofEvent.get(eventId) ?? new Set();
    this.#ofEvent.set(eventId, listeners);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.#ofEvent.delete(eventId);
    };
  }

  /** Wakes everybody, whether there is something new or not. */
  ringAll(): void {
    for (const listeners of [...this.#ofEvent.values(), this.#ofAll]) for (const listener of listeners) listener();
  }

  get listeners(): number {
    let count = this.#ofAll.size;
    for (const listeners of this.#ofEvent.values()) count += listeners.size;
    return count;
  }
}
