import { type Logger, messageOf } from "../kit/mod.ts";
import { SESSION_CREDENTIAL } from "./browser-sessions.ts";
import { DOCUMENT_KINDS } from "./documents.ts";
import type { KnownCallers } from "./known-callers.ts";

export interface EndingsOptions {
  readonly known: KnownCallers;
  readonly log: Logger;
  /** Whether what a principal came by still counts. Asked after somebody wrote a document of it. */
  readonly isCurrent: (credential: string) => Promise<boolean>;
}

/** Who counts no more, told to whoever holds a connection for them. */
export class Endings {
  readonly #options: EndingsOptions;
  readonly #listeners = new Set<(credential: string | undefined) => void>();

  constructor(options: EndingsOptions) {
    this.#options = options;
  }

  onEnded(listener: (credential: string | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** All are to be asked again. */
  all(): void {
    this.#options.known.end(undefined);
    this.#tell(undefined);
  }

  documentChanged(kind: string, id: string): void {
    if (kind === DOCUMENT_KINDS.token) void this.#look(id);
    if (kind === DOCUMENT_KINDS.session) void this.#look(`${SESSION_CREDENTIAL}${id}`);
    if (kind === DOCUMENT_KINDS.identity) {
      // One key of an agent may have ended and another not, which only whoever has the connection can ask about: each change is told.
      this.#options.known.end(`agent:${id}`);
      this.#tell(`agent:${id}`);
    }
  }

  async #look(credential: string): Promise<void> {
    this.#options.known.end(credential);
    try {
      if (await this.#options.isCurrent(credential)) return;
    } catch (error) {
      // Whoever holds a connection asks again, and is told by the store itself.
      this.#options.log.debug("a credential that was changed cannot be looked at", { reason: messageOf(error) });
    }
    // A browser's session goes with the token that it was begun with, and only the session's own name is known to whoever serves it.
    for (const ended of [credential, ...this.#options.known.sessionsOf(credential)]) this.#tell(ended);
  }

  #tell(credential: string | undefined): void {
    for (const listener of this.#listeners) listener(credential);
  }
}
