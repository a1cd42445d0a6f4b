import { type Ports, TransporterError } from "../../src/kit/mod.ts";
import type { Store, Word, WordListener } from "../../src/stores/mod.ts";
import { wordsOf } from "../../src/stores/words.ts";

type Operation = { [K in keyof Store]: Store[K] extends (...args: never[]) => Promise<unknown> ? K : never }[keyof Store];
type Args<K extends Operation> = Parameters<Store[K]>;
type Outcome<K extends Operation> = Awaited<ReturnType<Store[K]>>;

/** Which words follow from what, as a driver of a shared store tells them. */
const WORDS: { readonly [K in Operation]?: (args: Args<K>, outcome: Outcome<K>) => readonly Word[] } = {
  createEvent: ([input], outcome) => wordsOf.createEvent(input, outcome),
  retryEvent: (_args, outcome) => wordsOf.retryEvent(outcome),
  moveDelivery: ([move], outcome) => [
    ...wordsOf.moveDelivery(move, outcome),
    ...(move.to === "queued" && outcome.kind === "moved" && outcome.entry !== undefined ? wordsOf.putBack(outcome.entry.agent_id) : []),
  ],
  applyStatus: ([status], outcome) => wordsOf.applyStatus(status.eventId, outcome),
  cancelEvent: ([input], outcome) => wordsOf.cancelEvent(input.eventId, outcome),
  expireDue: (_args, ended) => wordsOf.ended(ended),
  claimAgent: ([claim], claimed) => wordsOf.claimAgent(claim.agent.id, claim.replicaId, claimed),
  setPaused: ([, id, paused], agent) => (agent === undefined ? [] : wordsOf.agent(id, paused ? "paused" : "resumed")),
  writeDocument: ([write], outcome) => wordsOf.writeDocument(write, outcome),
  removeAgent: ([, id], ended) => (ended === undefined ? [] : [...wordsOf.agent(id, "removed"), ...wordsOf.ended(ended)]),
};

/** The way of one control plane to a store that it shares with others. */
export interface Way {
  readonly store: Store;
  /** It hears nothing, and is not told that it did not. */
  deaf: boolean;
  /** Everything is refused at once. */
  away: boolean;
  /** Asked about each operation: true carries it out and then says that the store does not answer, as when a link breaks in between. */
  breaking: (operation: Operation, args: readonly unknown[]) => boolean;
  /** Held before each operation that is asked for meanwhile. */
  frozen: Promise<void> | undefined;
  /** How often each operation was asked for. */
  readonly asked: ReadonlyMap<string, number>;
  /** Says that words were lost. */
  gap(): void;
}

/** One real store, of whatever driver, for several control planes in this process: what each does is told to the others. */
export class SharedStore {
  readonly real: Store;
  readonly #ports: Pick<Ports, "timers">;
  readonly #hearing = new Map<WordListener, Way>();

  constructor(real: Store, ports: Pick<Ports, "timers">) {
    this.real = real;
    this.#ports = ports;
  }

  way(): Way {
    const asked = new Map<string, number>();
    const way: { -readonly [K in keyof Way]: Way[K] } = {
      store: this.real,
      deaf: false,
      away: false,
      breaking: () => false,
      frozen: undefined,
      asked,
      gap: () => {
        for (const [listener, of] of this.#hearing) if (of === way) listener.gap();
      },
    };
    const hear = (listener: WordListener): (() => void) => {
      this.#hearing.set(listener, way);
      return () => this.#hearing.delete(listener);
    };
    const operations = new Map<string, unknown>([
      ["info", { ...this.real.info, shared: true }],
      ["hear", hear],
      ["followEntries", () => undefined],
      ["close", () => Promise.resolve()],
    ]);
    way.store = new Proxy(this.real, {
      get: (real, name: string) => {
        if (!operations.has(name)) {
          const operation = Reflect.get(real, name) as (...args: unknown[]) => Promise<unknown>;
          operations.set(name, (...args: unknown[]) => {
            asked.set(name, (asked.get(name) ?? 0) + 1);
            return this.#carryOut(way, name as Operation, args, () => operation.apply(real, args));
          });
        }
        return operations.get(name);
      },
    });
    return way;
  }

  async #carryOut(way: Way, name: Operation, args: readonly unknown[], run: () => Promise<unknown>): Promise<unknown> {
    if (way.frozen !== undefined) await way.frozen;
    if (way.away) throw new TransporterError("STORE_UNAVAILABLE", "the store does not answer");
    const breaks = way.breaking(name, args);
    const outcome = await run();
    const tell = WORDS[name] as ((args: readonly unknown[], outcome: unknown) => readonly Word[]) | undefined;
    const words = tell?.(args, outcome) ?? [];
    if (words.length > 0) this.#tell(way, words);
    if (breaks) throw new TransporterError("STORE_UNAVAILABLE", "the link to the store broke");
    return outcome;
  }

  #tell(from: Way, words: readonly Word[]): void {
    this.#ports.timers.soon(() => {
      for (const [listener, way] of this.#hearing) if (way !== from && !way.deaf && !way.away) listener.words(words);
    });
  }
}
