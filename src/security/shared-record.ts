import * as v from "valibot";
import { TransporterError } from "../kit/mod.ts";
import type { AuditLine, Documents, DocumentKey } from "./documents.ts";

/** A document of one kind, read: what is not as the schema wants it counts as not there, so that it lets nobody in. */
export interface Held<T> {
  readonly id: string;
  readonly version: number;
  readonly record: T;
}

export interface Change<T> {
  readonly record: T;
  readonly audit?: AuditLine;
}

/** Somebody else keeps writing the same document; after so many times there is more wrong than bad luck. */
const MAX_TRIES = 8;

/** Documents of one kind as typed records. What several control planes change at once is changed on what is there, never written over. */
export class SharedRecords<T> {
  readonly #documents: Documents;
  readonly #tenant: string;
  readonly #kind: string;
  readonly #schema: v.GenericSchema<unknown, T>;
  /** When the document may be swept away. */
  readonly #expiresAtMs: (record: T) => number | undefined;

  constructor(of: {
    readonly documents: Documents;
    readonly tenant: string;
    readonly kind: string;
    readonly schema: v.GenericSchema<unknown, T>;
    readonly expiresAtMs: (record: T) => number | undefined;
  }) {
    this.#documents = of.documents;
    this.#tenant = of.tenant;
    this.#kind = of.kind;
    this.#schema = of.schema;
    this.#expiresAtMs = of.expiresAtMs;
  }

  async get(id: string): Promise<Held<T> | undefined> {
    const found = [await this.#documents.getDocument(this.#key(id))].filter((document) => document !== undefined);
    return found.map((document) => this.#read(document))[0];
  }

  async list(query: { readonly after?: string; readonly limit: number }): Promise<readonly Held<T>[]> {
    const documents = await this.#documents.listDocuments({ tenant: this.#tenant, kind: this.#kind, ...query });
    return documents.map((document) => this.#read(document)).filter((held) => held !== undefined);
  }

  /** Makes it; false where there is one of this id already. */
  async make(id: string, record: T, audit?: AuditLine): Promise<boolean> {
    return (await this.#write(id, 0, { record, ...(audit === undefined ? {} : { audit }) })) !== undefined;
  }

  /**
   * Changes what is there; `change` is asked again where somebody else was quicker, and answers undefined to leave it as it is. Answers what is
   * there afterwards, or undefined where nothing is. Throws STORE_UNAVAILABLE where it is changed without end.
   */
  async change(id: string, change: (record: T) => Change<T> | undefined): Promise<Held<T> | undefined> {
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const held = await this.get(id);
      if (held === undefined) return undefined;
      const next = change(held.record);
      if (next === undefined) return held;
      const version = await this.#write(id, held.version, next);
      if (version !== undefined) return { id, version, record: next.record };
    }
    throw new TransporterError("STORE_UNAVAILABLE", `the ${this.#kind} ${id} is being changed by others without end`);
  }

  /** The version that was written; undefined where it is otherwise by now. */
  async #write(id: string, expect: number, { record, audit }: Change<T>): Promise<number | undefined> {
    const outcome = await this.#documents.writeDocument({
      ...this.#key(id),
      expect,
      value: JSON.stringify(record),
      expiresAtMs: this.#expiresAtMs(record),
      ...(audit === undefined ? {} : { audit }),
    });
    const { version } = outcome as { readonly version?: number };
    return version;
  }

  #key(id: string): DocumentKey {
    return { tenant: this.#tenant, kind: this.#kind, id };
  }

  #read(document: { readonly id: string; readonly version: number; readonly value: string }): Held<T> | undefined {
    let value: unknown;
    try {
      value = JSON.parse(document.value);
    } catch {
      return undefined;
    }
    const parsed = v.safeParse(this.#schema, value);
    return parsed.success ? { id: document.id, version: document.version, record: parsed.output } : undefined;
  }
}
